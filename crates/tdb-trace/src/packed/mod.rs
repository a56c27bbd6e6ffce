//! The packed form: records of a trace as bytes, which cost the recorded program a fraction of what text costs it.
//!
//! A file begins with a page of numbers and a ring of the latest records, which the recorder maps; all older records follow,
//! one after another (docs/trace-extended.md has the layout). Whoever reads such a file reads its text: [`PackedText`].
//!
//! * [`record`]: one record, both ways.
//! * [`ring`]: the file, as it is written.
//! * [`recorder`]: a handle's records.
//! * [`text`]: the file, as it is read.

mod record;
pub(crate) mod recorder;
mod ring;
mod text;

pub use text::PackedText;

/// The first bytes of a packed trace.
pub const MAGIC: [u8; 8] = *b"TDBTRACE";
/// The version of the layout.
const LAYOUT: u32 = 1;
/// The page of numbers.
const PAGE: usize = 4096;
/// Where in it the layout's version stands.
const LAYOUT_AT: usize = 8;
/// Where the ring's length stands.
const RING_AT: usize = 12;
/// Where the length of all records stands: what is beyond is not part of the trace.
const HEAD_AT: usize = 16;
/// Where the length of those stands that follow the ring.
const DRAINED_AT: usize = 24;
/// Where the end of a record stands that says what is under way, if that is beyond the head.
const ANNOUNCED_AT: usize = 32;

/// A packed trace with an empty ring of `ring` bytes, whose records are these bytes, `head` of them being said to be there.
/// For tests: whatever the bytes, [`PackedText`] reads them or refuses them.
#[doc(hidden)]
pub fn with_records(ring: u16, head: u64, records: &[u8]) -> Vec<u8> {
    let mut file = vec![0; PAGE + usize::from(ring)];
    file[..MAGIC.len()].copy_from_slice(&MAGIC);
    file[LAYOUT_AT..][..4].copy_from_slice(&LAYOUT.to_le_bytes());
    file[RING_AT..][..4].copy_from_slice(&u32::from(ring).to_le_bytes());
    for at in [HEAD_AT, DRAINED_AT] {
        file[at..][..8].copy_from_slice(&head.to_le_bytes());
    }
    let announced = head.saturating_add(u64::from(ring) / 2);
    file[ANNOUNCED_AT..][..8].copy_from_slice(&announced.to_le_bytes());
    file.extend_from_slice(records);
    file
}
