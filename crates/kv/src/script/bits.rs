//! The table `bit`: operations on the 32 bits of a number, as the library BitOp for Lua 5.1 defines them.

use mlua::{Lua, Table, Variadic};

/// A function of one number.
type OfOne = fn(u32) -> u32;
/// A function of two numbers.
type OfTwo = fn(u32, u32) -> u32;

/// The table.
pub fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let of_one: [(&str, OfOne); 3] =
        [("tobit", |bits| bits), ("bnot", |bits| !bits), ("bswap", u32::swap_bytes)];
    for (name, operation) in of_one {
        table
            .raw_set(name, lua.create_function(move |_, number: f64| Ok(signed(operation(bits(number)))))?)?;
    }
    let of_all: [(&str, OfTwo); 3] = [
        ("band", |one, other| one & other),
        ("bor", |one, other| one | other),
        ("bxor", |one, other| one ^ other),
    ];
    for (name, operation) in of_all {
        let fold = move |_: &Lua, (first, rest): (f64, Variadic<f64>)| {
            Ok(signed(rest.iter().fold(bits(first), |all, number| operation(all, bits(*number)))))
        };
        table.raw_set(name, lua.create_function(fold)?)?;
    }
    // Only the lowest five bits of how far count.
    let shifts: [(&str, OfTwo); 5] = [
        ("lshift", u32::wrapping_shl),
        ("rshift", u32::wrapping_shr),
        ("arshift", |bits, by| bits.cast_signed().wrapping_shr(by).cast_unsigned()),
        ("rol", |bits, by| bits.rotate_left(by % 32)),
        ("ror", |bits, by| bits.rotate_right(by % 32)),
    ];
    for (name, shift) in shifts {
        let function = lua
            .create_function(move |_, (number, by): (f64, f64)| Ok(signed(shift(bits(number), bits(by)))))?;
        table.raw_set(name, function)?;
    }
    table.raw_set("tohex", lua.create_function(|_, (number, digits)| Ok(hexadecimal(number, digits)))?)?;
    Ok(table)
}

/// The lowest 32 bits of the nearest integer.
fn bits(number: f64) -> u32 {
    const RANGE: f64 = 4_294_967_296.0;
    // Rounding can yield the end of the range, which is its beginning; a NaN is no bits.
    number.round_ties_even().rem_euclid(RANGE) as u64 as u32
}

fn signed(bits: u32) -> f64 {
    f64::from(bits.cast_signed())
}

/// So many digits from the right; in capitals if negative.
fn hexadecimal(number: f64, digits: Option<f64>) -> String {
    let digits = digits.map_or(8, |digits| bits(digits).cast_signed());
    let text = format!("{:08x}", bits(number));
    let kept = &text[8 - digits.unsigned_abs().min(8) as usize..];
    if digits < 0 { kept.to_ascii_uppercase() } else { kept.to_owned() }
}
