//! The forms of traces, by name.

use std::str::FromStr;

/// In which form a handle is recorded (docs/trace-extended.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceForm {
    /// As libtdb's tracer writes it, and nothing else: the cheaper one, since it asks no clock.
    Plain,
    /// Plain lines, of which the first ends with ` #v`: their numbers are versions, so the order of a key's operations is exact.
    /// It costs as much as the plain form, and is that form without this mark.
    Exact,
    /// Each line also says when the operation was called and answered, and, where a lock was held, at which number.
    #[default]
    Extended,
    /// What the exact form says, as bytes: by far the cheapest for the recorded program. Our tools read it like the others.
    Packed,
    /// What the extended form says, as bytes.
    PackedExtended,
}

impl TraceForm {
    /// Every form with its name.
    pub const NAMES: [(&'static str, TraceForm); 5] = [
        ("plain", TraceForm::Plain),
        ("exact", TraceForm::Exact),
        ("extended", TraceForm::Extended),
        ("packed", TraceForm::Packed),
        ("packed-extended", TraceForm::PackedExtended),
    ];
}

impl FromStr for TraceForm {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<TraceForm, UnknownForm> {
        let named = TraceForm::NAMES.iter().find(|(other, _)| *other == name);
        named.map(|(_, form)| *form).ok_or_else(|| UnknownForm { name: name.into() })
    }
}

/// No form of traces has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown trace form {name:?}; expected plain, exact, extended, packed or packed-extended")]
pub struct UnknownForm {
    name: String,
}
