//! What a handle remembers about the freelist, so that allocations search little: what they have paid for, how long the
//! list is, which lengths are wanted, and how much room a walk over the list would find.
//!
//! Other processes change the list between any two calls: everything here is an estimate, and decides only how long a search
//! goes on, never what is believed of a record.

use std::cell::Cell;

use crate::file::format::{Length, Offset, RECORD_HEADER};

/// Each allocation pays for looking at so many records beyond the first few,
const STEPS_PER_ALLOCATION: u32 = 8;
/// and at one more for so many bytes: longer records take longer to write, and are harder to find room for;
const BYTES_FOR_STEP: Length = 256;
/// a walk over the whole list costs this for each record on it,
const WALK_PRICE: u32 = 2;
/// and so many walks may be saved up.
const WALKS_SAVED: u32 = 2;
/// A walk is free when it promises one allocation for so many records that it looks at.
const STEPS_FOR_ONE: u64 = 8;
/// Where more than this part of the file is free,
const MUCH_PART: u64 = 4;
/// a walk costs this part only.
const REBATE: u32 = 16;
/// No search behind the first few looks at more.
const MOST_STEPS: u32 = 4096;
/// Over so many allocations the wanted lengths are remembered, and over as many before.
const LENGTHS_OVER: u32 = 64;
/// Lengths are much the same if they differ by less than this part.
const SAME_PART: Length = 8;
/// This part of what is allocated may be given away,
const GIFT_PART: u32 = 4;
/// with no more than this saved up.
const GIFT_LIMIT: u32 = 64 * 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct FreelistMemory {
    /// How many records allocations have paid for looking at in a walk over the whole list.
    paid: Cell<u32>,
    /// The same for looking behind the first few.
    steps: Cell<u32>,
    /// How many records were on the list after this handle's last walk over it, and how many it has freed since.
    length: Cell<u32>,
    /// How many bytes are free, as far as this handle knows.
    free_bytes: Cell<u64>,
    /// Bytes of neighbours that became long enough for an allocation since the last walk, somewhere on the list.
    hidden: Cell<u64>,
    /// The lengths that were wanted by the last few allocations,
    lately: Cell<Lengths>,
    /// how many those are,
    lately_over: Cell<u32>,
    /// and the lengths that were wanted by them and by the few before.
    wanted: Cell<Lengths>,
    /// Bytes that allocations may still give away as slack rather than leave as a short record in front of the list.
    gift: Cell<u32>,
    /// What need not be looked at again.
    pub(super) seen: Cell<Seen>,
}

/// The least and the greatest of some lengths.
#[derive(Clone, Copy, Default)]
struct Lengths {
    least: Length,
    most: Length,
}

/// What an allocation has found out in vain: from the record at `at` on, those that it looked at were shorter than
/// `shorter_than`. Others may have changed them since, so it serves for a few allocations only; at worst one overlooks a gap.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub at: Offset,
    pub shorter_than: Length,
    pub uses_left: u32,
}

impl Lengths {
    fn with(self, other: Lengths) -> Lengths {
        Lengths { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

impl FreelistMemory {
    pub(super) fn note_wanted(&self, wanted: Length) {
        let most = self.length.get().saturating_mul(WALKS_SAVED * WALK_PRICE);
        let most = most.max(STEPS_PER_ALLOCATION * LENGTHS_OVER);
        let steps = STEPS_PER_ALLOCATION + wanted / BYTES_FOR_STEP;
        self.paid.set((self.paid.get().saturating_add(steps)).min(most));
        self.steps.set((self.steps.get().saturating_add(steps)).min(MOST_STEPS));
        let (lately, this) = (self.lately.get(), Lengths { least: wanted, most: wanted });
        if self.lately_over.get() == LENGTHS_OVER {
            self.wanted.set(lately.with(this));
            self.lately.set(this);
            self.lately_over.set(1);
            return;
        }
        self.lately_over.set(self.lately_over.get() + 1);
        if wanted < lately.least || wanted > lately.most {
            self.lately.set(lately.with(this));
            self.wanted.set(self.wanted.get().with(this));
        }
    }

    /// The least length that was wanted lately.
    pub(super) fn least_wanted(&self) -> Length {
        self.wanted.get().least
    }

    /// Whether all lengths that were wanted lately are much the same, so that one gap serves as well as another.
    #[inline]
    pub(super) fn wants_are_alike(&self) -> bool {
        let Lengths { least, most } = self.wanted.get();
        most - least <= most / SAME_PART
    }

    pub(super) fn note_taken(&self, record_len: Length) {
        self.free_bytes.set(self.free_bytes.get().saturating_sub(record_len.into()));
    }

    pub(super) fn note_freed(&self, record_len: Length) {
        self.length.set(self.length.get().saturating_add(1));
        self.free_bytes.set(self.free_bytes.get() + u64::from(record_len));
    }

    /// Notes that neighbours on the list have `record_len` bytes together.
    #[inline]
    pub(super) fn note_neighbours(&self, record_len: Length) {
        if record_len >= self.least_wanted() {
            self.hidden.set(self.hidden.get() + u64::from(record_len));
        }
    }

    /// How many records may be looked at behind the first few.
    pub(super) fn steps(&self) -> u32 {
        self.steps.get()
    }

    pub(super) fn pay_steps(&self, steps: u32) {
        self.steps.set(self.steps.get().saturating_sub(steps));
    }

    /// Whether a walk over the whole list for `wanted` bytes is paid for, or will pay; takes its price.
    pub(super) fn pay_walk(&self, wanted: Length, file: u32) -> bool {
        let length = self.length.get();
        let record = u64::from(wanted) + u64::from(RECORD_HEADER);
        // Where much of the file is free it must not grow for a search that was saved.
        let much_is_free = self.free_bytes.get() > u64::from(file) / MUCH_PART;
        let price = if much_is_free { length / REBATE } else { length.saturating_mul(WALK_PRICE) };
        if self.paid.get() < price && self.hidden.get() * STEPS_FOR_ONE < u64::from(length) * record {
            return false;
        }
        self.paid.set(self.paid.get().saturating_sub(price.max(1)));
        true
    }

    /// Notes what a walk over the whole list has found.
    pub(super) fn note_walk(&self, records: u32, bytes: u64) {
        self.length.set(records);
        self.free_bytes.set(bytes);
        self.hidden.set(0);
    }

    /// Whether an allocation of `wanted` bytes may keep `rest` more.
    pub(super) fn may_give(&self, wanted: Length, rest: Length, give: impl FnOnce(u32) -> bool) -> bool {
        let gift = self.gift.get().saturating_add(wanted / GIFT_PART).min(GIFT_LIMIT);
        let given = give(gift);
        self.gift.set(if given { gift.saturating_sub(rest) } else { gift });
        given
    }
}
