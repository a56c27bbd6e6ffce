------------------------------ MODULE LogRules ------------------------------
(***************************************************************************)
(* Raft's rules for logs, without its messages: who may lead in a term, on *)
(* which log a leader builds, what a server takes, and when an entry is    *)
(* committed.  Ubik.tla shows that Ubik keeps them: an epoch is a term, a  *)
(* promise is a vote, a label is the entry with which a leader begins.     *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Server,   \* the voters
          Term,     \* a finite set of numbers above 0
          Value,    \* what clients write
          Label     \* the entry with which a leader begins; not in Value

VARIABLES term,     \* the highest term that each server has agreed to
          log,      \* each server's log: a sequence of [term, value]
          told,     \* <<s, t, l>>: s, bound to term t, said that its log is l
          led,      \* the log of the leader of each term; <<>> if there is none
          acks,     \* <<s, t, n>>: s has taken the first n entries of led[t]
          committed \* what clients have been told stays

vars == <<term, log, told, led, acks, committed>>

Entry  == [term : Term, value : Value \cup {Label}]
Quorum == {Q \in SUBSET Server : 2 * Cardinality(Q) > Cardinality(Server)}

LastTerm(l)    == IF l = <<>> THEN 0 ELSE l[Len(l)].term
IsPrefix(p, l) == Len(p) <= Len(l) /\ p = SubSeq(l, 1, Len(p))
(* A version: the term of the last entry, and how many there are.          *)
NotNewer(k, l) == \/ LastTerm(k) < LastTerm(l)
                  \/ LastTerm(k) = LastTerm(l) /\ Len(k) <= Len(l)

TypeOK == /\ term \in [Server -> Term \cup {0}]
          /\ log \in [Server -> Seq(Entry)]
          /\ told \subseteq Server \X Term \X Seq(Entry)
          /\ led \in [Term -> Seq(Entry)]
          /\ acks \subseteq Server \X Term \X Nat
          /\ committed \in Seq(Entry)

Init == /\ term = [s \in Server |-> 0]
        /\ log = [s \in Server |-> <<>>]
        /\ told = {}
        /\ led = [t \in Term |-> <<>>]
        /\ acks = {}
        /\ committed = <<>>

(* A server binds itself to a term; whatever it was bound to is over.      *)
Agree(s, t) == /\ t > term[s]
               /\ term' = [term EXCEPT ![s] = t]
               /\ UNCHANGED <<log, told, led, acks, committed>>

(* It says what it has.  From now on it takes nothing of a lower term.     *)
Tell(s, t) == /\ term[s] = t
              /\ told' = told \cup {<<s, t, log[s]>>}
              /\ UNCHANGED <<term, log, led, acks, committed>>

(* A quorum has told; the leader builds on the newest of these logs.       *)
Lead(t) == /\ led[t] = <<>>
           /\ \E Q \in Quorum : \E said \in [Q -> Seq(Entry)] : \E s \in Q :
                /\ \A q \in Q : <<q, t, said[q]>> \in told
                /\ \A q \in Q : NotNewer(said[q], said[s])
                /\ led' = [led EXCEPT ![t] =
                             Append(said[s], [term |-> t, value |-> Label])]
           /\ UNCHANGED <<term, log, told, acks, committed>>

Extend(t, v) == /\ led[t] # <<>>
                /\ led' = [led EXCEPT ![t] = Append(@, [term |-> t, value |-> v])]
                /\ UNCHANGED <<term, log, told, acks, committed>>

(* A server takes the leader's log as far as n, the label at least; it     *)
(* loses nothing that it had of this term.                                 *)
Take(s, t, n) == /\ term[s] = t
                 /\ n \in 1..Len(led[t])
                 /\ led[t][n].term = t
                 /\ LastTerm(log[s]) = t => n >= Len(log[s])
                 /\ log' = [log EXCEPT ![s] = SubSeq(led[t], 1, n)]
                 /\ acks' = acks \cup {<<s, t, n>>}
                 /\ UNCHANGED <<term, told, led, committed>>

(* Entries of the leader's own term are committed when a quorum has taken  *)
(* them, and all before them with them.                                    *)
Commit(t, n) == /\ n \in 1..Len(led[t])
                /\ led[t][n].term = t
                /\ n > Len(committed)
                /\ \E Q \in Quorum : \A q \in Q :
                     \E m \in n..Len(led[t]) : <<q, t, m>> \in acks
                /\ committed' = SubSeq(led[t], 1, n)
                /\ UNCHANGED <<term, log, told, led, acks>>

Next == \E t \in Term :
          \/ Lead(t)
          \/ \E v \in Value : Extend(t, v)
          \/ \E n \in 1..Len(led[t]) : Commit(t, n)
          \/ \E s \in Server : \/ Agree(s, t)
                               \/ Tell(s, t)
                               \/ \E n \in 1..Len(led[t]) : Take(s, t, n)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What is committed stays committed.                                      *)
CommittedStays == [][IsPrefix(committed, committed')]_vars

(* Logs whose versions are equal are equal: a version names one content.   *)
VersionsAreNames ==
  \A r, s \in Server : /\ LastTerm(log[r]) = LastTerm(log[s])
                       /\ Len(log[r]) = Len(log[s])
                       => log[r] = log[s]

(* Whoever leads after a commit has it.                                    *)
LeadersAreComplete ==
  \A t \in Term : led[t] # <<>> /\ t > LastTerm(committed) => IsPrefix(committed, led[t])

THEOREM Spec => []TypeOK /\ []VersionsAreNames /\ []LeadersAreComplete /\ CommittedStays
=============================================================================
