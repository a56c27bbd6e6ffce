-------------------------------- MODULE Ubik --------------------------------
(***************************************************************************)
(* What docs/ubik-protocol.md says of promises, the fence, recovery and    *)
(* commits, as far as it concerns what stays committed.  Time is left out: *)
(* a promise may end at any moment, which is more than clocks can do, and  *)
(* so leases and reads are left out too.  Calls are never forgotten: each  *)
(* may arrive late, again, or not at all, also at a server that was        *)
(* started anew meanwhile.                                                 *)
(*                                                                         *)
(* A copy of the database is the sequence of the changes that made it, the *)
(* labels among them.  Its version is the epoch of its last label, and how *)
(* many entries it has since.                                              *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Server, Epoch, Value, Label, Nobody,
          Owner     \* of each epoch, who alone may propose it: [Epoch -> Server]

VARIABLES promise,  \* on disk: the highest epoch agreed to, and with whom
          copy,     \* on disk
          site,     \* of each server: what it knows as sync site; lost with power
          calls,    \* all that were ever sent
          answers,  \* of versions and of commits, all that were ever given
          elected,  \* epochs in which somebody was sync site
          shown     \* what the last sync site that decided showed its clients

vars == <<promise, copy, site, calls, answers, elected, shown>>

Quorum == {Q \in SUBSET Server : 2 * Cardinality(Q) > Cardinality(Server)}

EpochOf(c)     == IF c = <<>> THEN 0 ELSE c[Len(c)].term
IsPrefix(p, c) == Len(p) <= Len(c) /\ p = SubSeq(c, 1, Len(p))
NotNewer(a, b) == \/ EpochOf(a) < EpochOf(b)
                  \/ EpochOf(a) = EpochOf(b) /\ Len(a) <= Len(b)

(* Not sync site; or in which epoch, and what the newest copy of it is,    *)
(* once it is labelled.                                                    *)
Follower == [epoch |-> 0, newest |-> <<>>]
IsSite(s, e) == site[s].epoch = e

Init == /\ promise = [s \in Server |-> [epoch |-> 0, to |-> Nobody]]
        /\ copy = [s \in Server |-> <<>>]
        /\ site = [s \in Server |-> Follower]
        /\ calls = {}
        /\ answers = {}
        /\ elected = {}
        /\ shown = <<>>

(* A beacon is answered with yes: the record is on disk before.  An epoch  *)
(* is its proposer's alone, so it is agreed to with one server only.       *)
Promise(s, c, e) ==
  /\ e > promise[s].epoch
  /\ c = Owner[e]
  /\ promise' = [promise EXCEPT ![s] = [epoch |-> e, to |-> c]]
  /\ UNCHANGED <<copy, site, calls, answers, elected, shown>>

(* The own vote is one of the quorum; a server that was started anew       *)
(* proposes above what it promised, so an epoch has one reign.             *)
Elect(c, e) ==
  /\ e \notin elected
  /\ \E Q \in Quorum : c \in Q /\ \A q \in Q : promise[q] = [epoch |-> e, to |-> c]
  /\ elected' = elected \cup {e}
  /\ site' = [site EXCEPT ![c] = [epoch |-> e, newest |-> <<>>]]
  /\ UNCHANGED <<promise, copy, calls, answers, shown>>

(* Recovery 1: only servers that promised this mandate are asked.  What    *)
(* they answer is what they have when their disks are done.                *)
TellVersion(s, c, e) ==
  /\ promise[s] = [epoch |-> e, to |-> c]
  /\ answers' = answers \cup {[kind |-> "has", from |-> s, epoch |-> e, copy |-> copy[s]]}
  /\ UNCHANGED <<promise, copy, site, calls, elected, shown>>

(* Recovery 2 and 3: the newest of a quorum's copies gets a new label.  It *)
(* is fetched and labelled here first, so this server's promise must stand.*)
LabelNewest(c, e) ==
  /\ IsSite(c, e) /\ site[c].newest = <<>> /\ promise[c] = [epoch |-> e, to |-> c]
  /\ \E Q \in Quorum : \E has \in [Q -> {a.copy : a \in answers}] : \E s \in Q :
       LET new == Append(has[s], [term |-> e, value |-> Label]) IN
       /\ \A q \in Q : [kind |-> "has", from |-> q, epoch |-> e, copy |-> has[q]] \in answers
       /\ \A q \in Q : NotNewer(has[q], has[s])
       /\ site' = [site EXCEPT ![c].newest = new]
  /\ UNCHANGED <<promise, copy, calls, answers, elected, shown>>

(* A write, at a sync site whose label is committed.                       *)
Write(c, e, v) ==
  /\ IsSite(c, e) /\ EpochOf(shown) = e
  /\ site' = [site EXCEPT ![c].newest = Append(@, [term |-> e, value |-> v])]
  /\ UNCHANGED <<promise, copy, calls, answers, elected, shown>>

(* Servers are told to commit, to relabel, or sent the whole: one call     *)
(* here, since each leaves the server with a copy of the sync site's.  The *)
(* sync site tells itself too, in any order.                               *)
Send(c, e) ==
  /\ IsSite(c, e) /\ site[c].newest # <<>>
  /\ calls' = calls \cup {[from |-> c, epoch |-> e, copy |-> site[c].newest]}
  /\ UNCHANGED <<promise, copy, site, answers, elected, shown>>

(* The fence, and that no copy of an epoch goes back.                      *)
Obey(s, call) ==
  /\ promise[s] = [epoch |-> call.epoch, to |-> call.from]
  /\ EpochOf(copy[s]) = call.epoch => Len(call.copy) >= Len(copy[s])
  /\ copy' = [copy EXCEPT ![s] = call.copy]
  /\ answers' = answers \cup {[kind |-> "holds", from |-> s, epoch |-> call.epoch, copy |-> call.copy]}
  /\ UNCHANGED <<promise, site, calls, elected, shown>>

(* A quorum holds it: it is shown.  A server that holds more of this epoch *)
(* holds it too.                                                           *)
Decide(c, e, n) ==
  /\ IsSite(c, e) /\ n \in 1..Len(site[c].newest) /\ site[c].newest[n].term = e
  /\ n > Len(shown)
  /\ \E Q \in Quorum : \A q \in Q : \E a \in answers :
       a.kind = "holds" /\ a.from = q /\ a.epoch = e /\ Len(a.copy) >= n
  /\ shown' = SubSeq(site[c].newest, 1, n)
  /\ UNCHANGED <<promise, copy, site, calls, answers, elected>>

(* Power fails, or the mandate ends.                                       *)
Stop(s) == /\ site' = [site EXCEPT ![s] = Follower]
           /\ UNCHANGED <<promise, copy, calls, answers, elected, shown>>

Next == \E s \in Server :
          \/ Stop(s)
          \/ \E call \in calls : Obey(s, call)
          \/ \E e \in Epoch :
               \/ Elect(s, e) \/ LabelNewest(s, e) \/ Send(s, e)
               \/ \E v \in Value : Write(s, e, v)
               \/ \E n \in 1..Len(site[s].newest) : Decide(s, e, n)
               \/ \E c \in Server : Promise(s, c, e) \/ TellVersion(s, c, e)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* The refinement.  A sync site's newest copy is lost when it stops, and   *)
(* nobody needs it then; LogRules remembers it, which is what `made' adds: *)
(* the longest that was ever the newest of an epoch.                       *)
VARIABLE made
MadeInit == made = [e \in Epoch |-> <<>>]
MadeNext == made' = [e \in Epoch |->
              LET s == {r \in Server : site'[r].epoch = e /\ site'[r].newest # <<>>} IN
              IF s = {} THEN made[e] ELSE site'[CHOOSE r \in s : TRUE].newest]
SpecWithHistory == Init /\ MadeInit /\ [][Next /\ MadeNext]_<<vars, made>>

Rules == INSTANCE LogRules WITH
  Term      <- Epoch,
  term      <- [s \in Server |-> promise[s].epoch],
  log       <- copy,
  told      <- {<<a.from, a.epoch, a.copy>> : a \in {b \in answers : b.kind = "has"}},
  led       <- made,
  acks      <- {<<a.from, a.epoch, Len(a.copy)>> : a \in {b \in answers : b.kind = "holds"}},
  committed <- shown

(*  here            in LogRules                                            *)
(*  Promise         Agree                                                  *)
(*  TellVersion     Tell                                                   *)
(*  LabelNewest     Lead                                                   *)
(*  Write           Extend                                                 *)
(*  Obey            Take                                                   *)
(*  Decide          Commit                                                 *)
(*  Elect, Send, Stop: nothing changes there                               *)
THEOREM SpecWithHistory => Rules!Spec
=============================================================================
