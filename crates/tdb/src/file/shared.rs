//! Access to memory that other processes may change at the same moment.
//!
//! The compiler must not assume that two reads of such memory agree, nor invent one, so all access goes through
//! instructions that it cannot look into (volatile accesses where there are none for this processor). What comes out is a copy and stays as it is; whether it
//! is a *whole* value is for the locks to say, and no memory safety rests on that. Nothing here makes a `&[u8]` of the
//! shared memory, and no function of this crate does.
#![allow(unsafe_code)]

/// The bytes that one instruction moves.
const STEP: usize = 16;
/// From here on the processor's own copy instruction is faster.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const LONG: usize = 512;

/// The word at `at`, in this machine's byte order.
///
/// # Safety
/// The four bytes are mapped, and nobody unmaps them meanwhile.
#[inline(always)]
pub(crate) unsafe fn word(at: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { machine::four(at) }
}

/// The six words at `at`.
///
/// # Safety
/// As [`word`], for their 24 bytes.
#[inline(always)]
pub(crate) unsafe fn six_words(at: *const u8) -> [u32; 6] {
    // SAFETY: the caller's promise.
    let pairs: [[u32; 2]; 3] = std::array::from_fn(|nth| unsafe { two_words(at.add(8 * nth)) });
    std::array::from_fn(|nth| pairs[nth / 2][nth % 2])
}

/// The two words at `at`.
///
/// # Safety
/// As [`word`], for their 8 bytes.
#[inline(always)]
pub(crate) unsafe fn two_words(at: *const u8) -> [u32; 2] {
    // SAFETY: the caller's promise.
    let both = unsafe { machine::eight(at) };
    let (low, high) = (both as u32, (both >> 32) as u32);
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}

/// Puts a word, in this machine's byte order.
///
/// # Safety
/// As [`word`], and the memory is writable.
#[inline(always)]
pub(crate) unsafe fn put_word(at: *mut u8, word: u32) {
    // SAFETY: the caller's promise.
    unsafe { machine::put_four(at, word) }
}

/// Fills `out` from `from`.
///
/// # Safety
/// `out.len()` bytes are mapped at `from`, and nobody unmaps them meanwhile.
#[inline(always)]
pub(crate) unsafe fn copy_out(from: *const u8, out: &mut [u8]) {
    // SAFETY: the caller's promise for the source; the destination is memory of Rust's own.
    unsafe { copy(from, out.as_mut_ptr(), out.len()) }
}

/// Puts `bytes` to `to`.
///
/// # Safety
/// As [`copy_out`], and the memory is writable.
#[inline(always)]
pub(crate) unsafe fn copy_in(bytes: &[u8], to: *mut u8) {
    // SAFETY: the caller's promise for the destination.
    unsafe { copy(bytes.as_ptr(), to, bytes.len()) }
}

/// Copies `len` bytes between two places that do not overlap.
///
/// # Safety
/// Both places are mapped, the second is writable, and nobody unmaps either meanwhile.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every piece lies within the `len` bytes; the last one may overlap the one before it.
    unsafe {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if len >= LONG {
            return machine::copy_long(from, to, len);
        }
        if len < STEP {
            return copy_short(from, to, len);
        }
        let mut done = 0;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        while done + 4 * STEP <= len {
            machine::copy_four_steps(from.add(done), to.add(done));
            done += 4 * STEP;
        }
        while done + STEP <= len {
            machine::copy_step(from.add(done), to.add(done));
            done += STEP;
        }
        if done < len {
            machine::copy_step(from.add(len - STEP), to.add(len - STEP));
        }
    }
}

/// [`copy`] of fewer bytes than a step has.
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as in `copy`: two pieces that together are the `len` bytes, overlapping where they must.
    unsafe {
        match len {
            8.. => {
                let (first, last) = (machine::eight(from), machine::eight(from.add(len - 8)));
                machine::put_eight(to, first);
                machine::put_eight(to.add(len - 8), last);
            }
            4.. => {
                let (first, last) = (machine::four(from), machine::four(from.add(len - 4)));
                machine::put_four(to, first);
                machine::put_four(to.add(len - 4), last);
            }
            _ => (0..len).for_each(|nth| to.add(nth).write_volatile(from.add(nth).read_volatile())),
        }
    }
}

/// Whether `bytes` stand at `at`.
///
/// # Safety
/// As [`copy_out`].
#[inline]
pub(crate) unsafe fn equal(at: *const u8, bytes: &[u8]) -> bool {
    let len = bytes.len();
    // SAFETY: as in `copy`.
    unsafe {
        let mine = bytes.as_ptr();
        if len < 8 {
            return (0..len).all(|nth| at.add(nth).read_volatile() == bytes[nth]);
        }
        let same = |nth: usize| machine::eight(at.add(nth)) == mine.add(nth).cast::<u64>().read_unaligned();
        if len < STEP {
            return same(0) && same(len - 8);
        }
        let mut nth = 0;
        while nth + STEP <= len {
            if !machine::step_is(at.add(nth), mine.add(nth)) {
                return false;
            }
            nth += STEP;
        }
        nth == len || machine::step_is(at.add(len - STEP), mine.add(len - STEP))
    }
}

/// Moves that the compiler cannot look into.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod machine {
    use std::arch::asm;
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};

    #[inline(always)]
    pub unsafe fn copy_step(from: *const u8, to: *mut u8) {
        // SAFETY: 16 bytes at both places, by the caller's promise; only a scratch register changes.
        unsafe {
            asm!(
                "movdqu {step}, [{from}]",
                "movdqu [{to}], {step}",
                step = out(xmm_reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack, preserves_flags)
            );
        }
        const { assert!(size_of::<__m128i>() == super::STEP) };
    }

    #[inline(always)]
    pub unsafe fn copy_four_steps(from: *const u8, to: *mut u8) {
        // SAFETY: 64 bytes at both places, by the caller's promise; only scratch registers change.
        unsafe {
            asm!(
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movdqu [{to}], {a}",
                "movdqu [{to} + 16], {b}",
                "movdqu [{to} + 32], {c}",
                "movdqu [{to} + 48], {d}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Whether the 16 bytes at both places are the same; the second is memory of Rust's own.
    #[inline(always)]
    pub unsafe fn step_is(at: *const u8, mine: *const u8) -> bool {
        let theirs: __m128i;
        // SAFETY: 16 bytes at both places, by the caller's promise.
        unsafe {
            asm!(
                "movdqu {theirs}, [{at}]",
                theirs = out(xmm_reg) theirs,
                at = in(reg) at,
                options(nostack, preserves_flags, readonly)
            );
            _mm_movemask_epi8(_mm_cmpeq_epi8(theirs, _mm_loadu_si128(mine.cast()))) == 0xffff
        }
    }

    pub unsafe fn copy_long(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: `len` bytes at both places, by the caller's promise. The direction flag is clear in Rust code.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags)
            );
        }
    }

    macro_rules! moves {
        ($load:ident, $store:ident, $kind:ty, $size:literal, $form:literal) => {
            #[inline(always)]
            pub unsafe fn $load(at: *const u8) -> $kind {
                let value: $kind;
                // SAFETY: so many bytes there, by the caller's promise.
                unsafe {
                    asm!(
                        concat!("mov {value", $form, "}, ", $size, " ptr [{at}]"),
                        value = out(reg) value,
                        at = in(reg) at,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                value
            }

            #[inline(always)]
            pub unsafe fn $store(at: *mut u8, value: $kind) {
                // SAFETY: so many writable bytes there, by the caller's promise.
                unsafe {
                    asm!(
                        concat!("mov ", $size, " ptr [{at}], {value", $form, "}"),
                        value = in(reg) value,
                        at = in(reg) at,
                        options(nostack, preserves_flags)
                    );
                }
            }
        };
    }
    moves!(eight, put_eight, u64, "qword", ":r");
    moves!(four, put_four, u32, "dword", ":e");
}

/// The same, byte by byte, for other processors and for Miri.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod machine {
    pub unsafe fn copy_step(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        (0..super::STEP).for_each(|nth| unsafe { to.add(nth).write_volatile(from.add(nth).read_volatile()) });
    }

    pub unsafe fn step_is(at: *const u8, mine: *const u8) -> bool {
        // SAFETY: the caller's promise.
        (0..super::STEP).all(|nth| unsafe { at.add(nth).read_volatile() == mine.add(nth).read() })
    }

    macro_rules! moves {
        ($load:ident, $store:ident, $kind:ty) => {
            pub unsafe fn $load(at: *const u8) -> $kind {
                // SAFETY: the caller's promise.
                <$kind>::from_ne_bytes(std::array::from_fn(|nth| unsafe { at.add(nth).read_volatile() }))
            }

            pub unsafe fn $store(at: *mut u8, value: $kind) {
                for (nth, byte) in value.to_ne_bytes().into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { at.add(nth).write_volatile(byte) };
                }
            }
        };
    }
    moves!(eight, put_eight, u64);
    moves!(four, put_four, u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T16: every length and every alignment is copied and compared whole, and nothing around it changes.
    #[test]
    fn copies_and_comparisons_are_those_of_ordinary_memory() {
        let source: Vec<u8> = (0..1200_u32).map(|nth| (nth * 7 + nth / 256) as u8).collect();
        for len in (0..70).chain([127, 128, 129, 511, 512, 513, 1100]) {
            for at in 0..9 {
                let mut copied = vec![0xee; len + 2];
                // SAFETY: both vectors are longer than what is copied and compared.
                let same = unsafe {
                    copy_out(source.as_ptr().add(at), &mut copied[1..=len]);
                    equal(source.as_ptr().add(at), &copied[1..=len])
                };
                assert_eq!(copied[1..=len], source[at..at + len], "{len} bytes at {at}");
                assert!(same && copied[0] == 0xee && copied[len + 1] == 0xee);
                for wrong in [1, len / 2, len].into_iter().filter(|_| len > 0) {
                    copied[wrong.max(1)] ^= 1;
                    // SAFETY: as above.
                    assert!(!unsafe { equal(source.as_ptr().add(at), &copied[1..=len]) }, "{len} at {at}");
                    copied[wrong.max(1)] ^= 1;
                }
            }
        }
    }

    /// T16: words are read and written at any place.
    #[test]
    fn words_need_no_alignment() {
        let mut bytes = [0_u8; 16];
        for at in 0..8 {
            let value = 0x0102_0304 + at as u32;
            // SAFETY: inside the array.
            let read = unsafe {
                put_word(bytes.as_mut_ptr().add(at), value);
                word(bytes.as_ptr().add(at))
            };
            assert_eq!((read, &bytes[at..at + 4]), (value, &value.to_ne_bytes()[..]));
        }
    }
}
