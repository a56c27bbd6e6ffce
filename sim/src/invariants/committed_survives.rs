//! What was shown once is in everything that is shown later.

use std::collections::HashMap;

use ubik_proto::version::Version;

use super::Found;

/// Everything that any server shows or any client was told is one line of versions, each made from the one before.
///
/// So what was shown once is in all that is shown later (U34, U35), and no two servers show versions that exclude each
/// other.
#[derive(Debug, Default)]
pub struct CommittedSurvives {
    /// From what each version was made, and how long its line is.
    made_from: HashMap<Version, (Version, u64)>,
    /// The longest line that was shown: version at each length.
    line: HashMap<u64, Version>,
    tip: Option<(Version, u64)>,
}

impl CommittedSurvives {
    /// A sync site made `version` from `before`.
    ///
    /// # Errors
    /// If the version exists already, made from another.
    pub fn made(&mut self, before: Version, version: Version) -> Found {
        let length = self.made_from.get(&before).map_or(0, |&(_, length)| length) + 1;
        match self.made_from.insert(version, (before, length)) {
            Some((other, _)) if other != before => {
                Err(format!("version {version} was made twice: from {other} and from {before}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether some sync site made it.
    pub fn is_known(&self, version: Version) -> bool {
        version.is_fresh() || self.made_from.contains_key(&version)
    }

    /// A server shows `version`.
    ///
    /// # Errors
    /// If it is not in one line with everything shown before.
    pub fn shown(&mut self, version: Version) -> Found {
        if version.is_fresh() {
            return Ok(());
        }
        let Some(&(_, length)) = self.made_from.get(&version) else {
            return Err(format!("version {version} is shown and nobody made it"));
        };
        match self.tip {
            Some((tip, reached)) if length <= reached => {
                let there = self.line.get(&length);
                if there == Some(&version) { Ok(()) } else { Err(off_line(version, tip, there.copied())) }
            }
            _ => self.extend(version, length),
        }
    }

    fn extend(&mut self, version: Version, length: u64) -> Found {
        let (mut at, mut position) = (version, length);
        let reached = self.tip.map_or(0, |(_, reached)| reached);
        let mut new = Vec::new();
        while position > reached {
            new.push((position, at));
            at = self.made_from.get(&at).map_or(Version::NONE, |&(before, _)| before);
            position -= 1;
        }
        if let Some((tip, _)) = self.tip
            && at != tip
        {
            return Err(format!("version {version} is shown, and version {tip}, shown before, is not in it"));
        }
        self.line.extend(new);
        self.tip = Some((version, length));
        Ok(())
    }
}

fn off_line(version: Version, tip: Version, there: Option<Version>) -> String {
    let there = there.map_or_else(|| "nothing".to_owned(), |there| there.to_string());
    format!("version {version} is shown, and it is not what {tip}, shown before, was made from ({there} is)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_found_whichever_side_is_shown_first() {
        let version = |epoch, counter| Version::new(epoch, counter);
        let mut line = CommittedSurvives::default();
        for (before, made) in
            [((1, 1), (5, 1)), ((5, 1), (5, 2)), ((5, 2), (5, 3)), ((5, 2), (6, 1)), ((6, 1), (6, 2))]
        {
            line.made(version(before.0, before.1), version(made.0, made.1)).unwrap();
        }
        line.shown(version(5, 2)).unwrap();
        line.shown(version(6, 2)).unwrap();
        line.shown(version(5, 2)).unwrap();
        assert!(line.shown(version(5, 3)).is_err(), "lost by the election");
        assert!(line.made(version(5, 3), version(6, 2)).is_err(), "made twice");
    }
}
