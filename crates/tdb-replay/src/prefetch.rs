//! Memory asked for before it is needed.
//!
//! Owns the one instruction that this takes. What reading and ordering large histories cost is waiting for memory; who
//! knows some steps ahead which element of a large list comes next says so here, and finds it near when it comes.

/// Asks for element `index` of `list`, if there is one. Changes nothing but time.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub fn element<T>(list: &[T], index: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let address = list.as_ptr().wrapping_add(index);
    // SAFETY: a prefetch reads nothing and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Asks for nothing: there is no stable way to here.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
pub fn element<T>(_list: &[T], _index: usize) {}
