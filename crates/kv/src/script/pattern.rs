//! Lua's patterns, matched by backtracking that looks at the clock: a pattern may take exponentially long, a script may not.

/// Where a pattern matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub captures: Vec<Capture>,
}

/// What a pair of parentheses captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// `()`: where it was.
    Place(usize),
    /// From, to.
    Text(usize, usize),
}

/// A pattern on a text.
pub struct Matcher<'a, C> {
    text: &'a [u8],
    pattern: &'a [u8],
    /// Where the pattern begins, after its anchor.
    first: usize,
    anchored: bool,
    check: C,
    steps: u32,
    depth: u32,
    captures: Vec<Open>,
}

/// A capture in progress.
#[derive(Clone, Copy)]
struct Open {
    start: usize,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Missing,
    Place,
    At(usize),
}

type Step = mlua::Result<Option<usize>>;

/// Captures of one pattern.
const CAPTURES: usize = 32;
/// Patterns within patterns: each is a frame of the stack.
const DEPTH: u32 = 200;
/// Steps between two looks at the clock.
const STEPS: u32 = 4096;

impl<'a, C: Fn() -> mlua::Result<()>> Matcher<'a, C> {
    /// `pattern` on `text`; `check` ends it.
    pub fn new(text: &'a [u8], pattern: &'a [u8], check: C) -> Self {
        let anchored = pattern.first() == Some(&b'^');
        let first = usize::from(anchored);
        Matcher { text, pattern, first, anchored, check, steps: 0, depth: 0, captures: Vec::new() }
    }

    /// A leading `^` means itself.
    pub fn without_anchor(mut self) -> Self {
        self.anchored = false;
        self.first = 0;
        self
    }

    /// Whether it matches at the beginning alone.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// The first match from `start` on.
    pub fn search(&mut self, start: usize) -> mlua::Result<Option<Found>> {
        for place in start..=self.text.len() {
            let found = self.at(place)?;
            if found.is_some() || self.anchored {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The match that begins at `start`.
    pub fn at(&mut self, start: usize) -> mlua::Result<Option<Found>> {
        self.captures.clear();
        self.depth = 0;
        let Some(end) = self.matches(start, self.first)? else { return Ok(None) };
        let captures = self.captures.iter().map(|capture| match capture.end {
            End::Place => Ok(Capture::Place(capture.start)),
            End::At(end) => Ok(Capture::Text(capture.start, end)),
            End::Missing => Err(malformed("unfinished capture")),
        });
        Ok(Some(Found { start, end, captures: captures.collect::<mlua::Result<_>>()? }))
    }

    fn step(&mut self) -> mlua::Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) { (self.check)() } else { Ok(()) }
    }

    /// Matches the pattern from `p` on at `s`; where the match ends.
    fn matches(&mut self, s: usize, p: usize) -> Step {
        if self.depth == DEPTH {
            return Err(malformed("pattern too complex"));
        }
        self.depth += 1;
        let end = self.sequence(s, p);
        self.depth -= 1;
        end
    }

    fn sequence(&mut self, mut s: usize, mut p: usize) -> Step {
        loop {
            self.step()?;
            let rest = &self.pattern[p..];
            match rest {
                [] => return Ok(Some(s)),
                [b'(', b')', ..] => return self.open(s, p + 2, End::Place),
                [b'(', ..] => return self.open(s, p + 1, End::Missing),
                [b')', ..] => return self.close(s, p + 1),
                [b'$'] => return Ok((s == self.text.len()).then_some(s)),
                [b'%', b'b', ..] => match self.balanced(s, p + 2)? {
                    Some(end) => (s, p) = (end, p + 4),
                    None => return Ok(None),
                },
                [b'%', b'f', ..] => match self.frontier(s, p + 2)? {
                    Some(after) => p = after,
                    None => return Ok(None),
                },
                [b'%', digit @ b'0'..=b'9', ..] => match self.repeated(s, *digit)? {
                    Some(end) => (s, p) = (end, p + 2),
                    None => return Ok(None),
                },
                _ => match self.item(s, p)? {
                    Next::Go(next, after) => (s, p) = (next, after),
                    Next::End(end) => return Ok(end),
                },
            }
        }
    }

    /// One class, and how often.
    fn item(&mut self, s: usize, p: usize) -> mlua::Result<Next> {
        let end = self.class_end(p)?;
        let fits = self.fits(s, p, end);
        Ok(match self.pattern.get(end) {
            Some(b'?') => {
                if fits && let Some(found) = self.matches(s + 1, end + 1)? {
                    return Ok(Next::End(Some(found)));
                }
                Next::Go(s, end + 1)
            }
            Some(b'*') => Next::End(self.most(s, p, end)?),
            Some(b'+') if fits => Next::End(self.most(s + 1, p, end)?),
            Some(b'-') => Next::End(self.fewest(s, p, end)?),
            Some(b'+') => Next::End(None),
            _ if fits => Next::Go(s + 1, end),
            _ => Next::End(None),
        })
    }

    fn most(&mut self, s: usize, p: usize, end: usize) -> Step {
        let mut count = 0;
        while self.fits(s + count, p, end) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.matches(s + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn fewest(&mut self, mut s: usize, p: usize, end: usize) -> Step {
        loop {
            if let Some(found) = self.matches(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize, end: End) -> Step {
        if self.captures.len() == CAPTURES {
            return Err(malformed("too many captures"));
        }
        let kept = self.captures.len();
        self.captures.push(Open { start: s, end });
        let found = self.matches(s, p)?;
        if found.is_none() {
            self.captures.truncate(kept);
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> Step {
        let open = self.captures.iter().rposition(|capture| capture.end == End::Missing);
        let open = open.ok_or_else(|| malformed("invalid pattern capture"))?;
        self.captures[open].end = End::At(s);
        let found = self.matches(s, p)?;
        if found.is_none() {
            self.captures[open].end = End::Missing;
        }
        Ok(found)
    }

    /// `%bxy`: from an x to the y that closes it.
    fn balanced(&mut self, s: usize, p: usize) -> Step {
        let Some(&[open, close]) = self.pattern.get(p..p + 2).and_then(|pair| pair.first_chunk::<2>()) else {
            return Err(malformed("unbalanced pattern"));
        };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for place in s + 1..self.text.len() {
            self.step()?;
            let byte = self.text[place];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(place + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: between a byte outside the set and one inside; where the pattern goes on.
    fn frontier(&mut self, s: usize, p: usize) -> Step {
        if self.pattern.get(p) != Some(&b'[') {
            return Err(malformed("missing '[' after '%f' in pattern"));
        }
        let end = self.class_end(p)?;
        let before = s.checked_sub(1).map_or(0, |place| self.text[place]);
        let here = self.text.get(s).copied().unwrap_or(0);
        let set = &self.pattern[p..end];
        Ok((!in_set(set, before) && in_set(set, here)).then_some(end))
    }

    /// `%1`: what was captured before.
    fn repeated(&mut self, s: usize, digit: u8) -> Step {
        let capture =
            usize::from(digit).checked_sub(usize::from(b'1')).and_then(|place| self.captures.get(place));
        let Some(&Open { start, end: End::At(end) }) = capture else {
            return Err(malformed("invalid capture index"));
        };
        let length = end - start;
        let is_same = self.text.get(s..s + length) == Some(&self.text[start..end]);
        Ok(is_same.then_some(s + length))
    }

    /// Where the class that begins at `p` ends.
    fn class_end(&self, p: usize) -> mlua::Result<usize> {
        match &self.pattern[p..] {
            [b'%'] => Err(malformed("malformed pattern (ends with '%')")),
            [b'%', ..] => Ok(p + 2),
            [b'[', rest @ ..] => {
                let mut at = usize::from(rest.first() == Some(&b'^'));
                // A bracket that comes first means itself.
                loop {
                    match rest.get(at..) {
                        Some([b'%', _, ..]) => at += 2,
                        Some([_, b']', ..]) => return Ok(p + at + 3),
                        Some([_, ..]) => at += 1,
                        _ => return Err(malformed("malformed pattern (missing ']')")),
                    }
                    if rest.get(at) == Some(&b']') {
                        return Ok(p + at + 2);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn fits(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&byte) = self.text.get(s) else { return false };
        match &self.pattern[p..end] {
            [b'.'] => true,
            [b'%', class] => in_class(*class, byte),
            set @ [b'[', ..] => in_set(set, byte),
            [literal] => *literal == byte,
            _ => false,
        }
    }
}

enum Next {
    Go(usize, usize),
    End(Option<usize>),
}

fn malformed(text: &str) -> mlua::Error {
    mlua::Error::runtime(text)
}

/// `set` with its brackets.
fn in_set(set: &[u8], byte: u8) -> bool {
    let inside = &set[1..set.len() - 1];
    let (negated, mut rest) = match inside {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [class, after @ ..]) => {
                found |= in_class(*class, byte);
                after
            }
            (low, [b'-', high, after @ ..]) => {
                found |= (*low..=*high).contains(&byte);
                after
            }
            (literal, after) => {
                found |= *literal == byte;
                after
            }
        };
    }
    found != negated
}

/// A letter is a class, its capital everything else; anything else means itself.
fn in_class(class: u8, byte: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    found != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pattern: &str) -> Option<(usize, usize, Vec<Capture>)> {
        let mut matcher = Matcher::new(text.as_bytes(), pattern.as_bytes(), || Ok(()));
        matcher.search(0).unwrap().map(|found| (found.start, found.end, found.captures))
    }

    /// What Lua's own `string.find` says.
    fn lua_find(text: &str, pattern: &str) -> Option<(usize, usize)> {
        let lua = mlua::Lua::new();
        let string: mlua::Table = lua.globals().get("string").unwrap();
        let find: mlua::Function = string.get("find").unwrap();
        let place: (Option<usize>, Option<usize>) = find.call((text, pattern)).unwrap();
        place.0.zip(place.1).map(|(start, end)| (start - 1, end))
    }

    /// S20: patterns mean what they mean to Lua itself, whose own function is asked in each case.
    #[test]
    fn patterns_mean_what_they_mean_to_lua() {
        type Case = (&'static str, &'static str, Option<(usize, usize)>);
        let cases: [Case; 24] = [
            ("hello", "l+", Some((2, 4))),
            ("hello", "^l", None),
            ("hello", "o$", Some((4, 5))),
            ("a$b", "a$b", Some((0, 3))),
            ("hello", "l-o", Some((2, 5))),
            ("hello", "xl?", None),
            ("hello", "lx?l", Some((2, 4))),
            ("key = value", "%w+%s*=%s*%w+", Some((0, 11))),
            ("f(a(b)c)d", "%b()", Some((1, 8))),
            ("THE (quick) fox", "%f[%a]%a+", Some((0, 3))),
            ("x]y", "[]]", Some((1, 2))),
            ("x^y", "[%^]", Some((1, 2))),
            ("abc", "[^a-b]", Some((2, 3))),
            ("a-z", "[a%-]+", Some((0, 2))),
            ("0x1F", "%x+$", Some((2, 4))),
            ("say \"hi\"", "([\"']).-%1", Some((4, 8))),
            ("", "", Some((0, 0))),
            ("abc", "", Some((0, 0))),
            ("a.b", "%.", Some((1, 2))),
            ("tab\tend", "%c", Some((3, 4))),
            ("ABC", "%L+", Some((0, 3))),
            ("aaa", "a-$", Some((0, 3))),
            ("a\0b", "%z", Some((1, 2))),
            ("abc", "[a-]+", Some((0, 1))),
        ];
        for (text, pattern, place) in cases {
            let found = found(text, pattern).map(|(start, end, _)| (start, end));
            assert_eq!(found, place, "{text:?} {pattern:?}");
            assert_eq!(lua_find(text, pattern), place, "Lua itself: {text:?} {pattern:?}");
        }
        let captures = found("key=value", "(()%w+)=(%w*)").unwrap().2;
        assert_eq!(captures, [Capture::Text(0, 3), Capture::Place(0), Capture::Text(4, 9)]);
    }

    /// S20: malformed patterns are errors, and a pattern that would take forever ends when it is told to.
    #[test]
    fn bad_and_endless_patterns_end() {
        for pattern in ["%", "[a", "[", "(a", "a)", "%b", "%bx", "%1", "%f", "[%", "[^"] {
            let mut matcher = Matcher::new(b"aaa", pattern.as_bytes(), || Ok(()));
            assert!(matcher.search(0).is_err(), "{pattern:?}");
        }
        let deep = "a?".repeat(300);
        assert!(Matcher::new(&[b'a'; 400], deep.as_bytes(), || Ok(())).search(0).is_err());
        let text = [b'a'; 200];
        let pattern = ".-.-.-.-.-.-.-.-b";
        let mut matcher = Matcher::new(&text, pattern.as_bytes(), || Err(malformed("over")));
        assert!(matcher.search(0).unwrap_err().to_string().contains("over"));
    }
}
