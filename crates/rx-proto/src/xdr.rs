//! XDR (RFC 4506), as the procedures of Rx use it: big-endian words, everything padded to four bytes.
//!
//! Decoding reads from a [`Source`] that may be a stream of a peer, so no length is believed: a bound is part of the
//! type and checked before anything is allocated, and memory grows only as bytes arrive.

use crate::codes::CallFailure;

/// Why a value could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    /// The bytes end too early, or the call has failed.
    #[error("the bytes end early: {0}")]
    Stream(CallFailure),
    /// A length exceeds its bound.
    #[error("a length of {length} exceeds its bound of {bound}")]
    Bound {
        /// What the peer says.
        length: u32,
        /// What the declaration allows.
        bound: u32,
    },
    /// A number that its type does not have, or a text that is not UTF-8.
    #[error("a value is not one of its type")]
    Value,
}

/// Where bytes come from.
pub trait Source {
    /// Fills `out`.
    ///
    /// # Errors
    /// There are not so many bytes.
    fn take(&mut self, out: &mut [u8]) -> Result<(), XdrError>;
}

impl Source for &[u8] {
    fn take(&mut self, out: &mut [u8]) -> Result<(), XdrError> {
        let from = self.split_off(..out.len()).ok_or(XdrError::Stream(CallFailure::ENDED))?;
        out.copy_from_slice(from);
        Ok(())
    }
}

/// A value that travels.
pub trait Xdr: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value.
    ///
    /// # Errors
    /// The bytes are not one.
    fn decode(from: &mut dyn Source) -> Result<Self, XdrError>;
}

macro_rules! words {
    ($($kind:ty),*) => {$(
        impl Xdr for $kind {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
                let mut bytes = [0; size_of::<$kind>()];
                from.take(&mut bytes)?;
                Ok(<$kind>::from_be_bytes(bytes))
            }
        }
    )*};
}

words!(i32, u32, i64, u64);

impl Xdr for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }

    fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
        match u32::decode(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(XdrError::Value),
        }
    }
}

impl<T: Xdr, const N: usize> Xdr for [T; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.encode(out));
    }

    fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
        let mut values = Vec::with_capacity(N);
        for _ in 0..N {
            values.push(T::decode(from)?);
        }
        values.try_into().map_err(|_| XdrError::Value)
    }
}

/// Bytes read before more memory is taken for a long value.
const CHUNK: usize = 16 * 1024;

/// At most `MAX` bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Opaque<const MAX: u32>(Vec<u8>);

impl<const MAX: u32> Opaque<MAX> {
    /// The bytes, if there are not too many.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= MAX as usize).then_some(Opaque(bytes))
    }

    /// The bytes.
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: u32> Xdr for Opaque<MAX> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.0.len() as u32).encode(out);
        out.extend_from_slice(&self.0);
        out.extend_from_slice(&[0; 3][..padding(self.0.len())]);
    }

    fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
        let length = bounded(from, MAX)?;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(length.min(start + CHUNK), 0);
            from.take(&mut bytes[start..])?;
        }
        from.take(&mut [0; 3][..padding(length)])?;
        Ok(Opaque(bytes))
    }
}

/// At most `MAX` values.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Array<T, const MAX: u32>(Vec<T>);

impl<T, const MAX: u32> Array<T, MAX> {
    /// The values, if there are not too many.
    pub fn new(values: impl Into<Vec<T>>) -> Option<Self> {
        let values = values.into();
        (values.len() <= MAX as usize).then_some(Array(values))
    }

    /// The values.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }

    /// The values.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T: Xdr, const MAX: u32> Xdr for Array<T, MAX> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.0.len() as u32).encode(out);
        self.0.iter().for_each(|value| value.encode(out));
    }

    fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
        let length = bounded(from, MAX)?;
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(T::decode(from)?);
        }
        Ok(Array(values))
    }
}

/// Text of at most `MAX` bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Text<const MAX: u32>(String);

impl<const MAX: u32> Text<MAX> {
    /// The text, if it is not too long.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= MAX as usize).then_some(Text(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: u32> Xdr for Text<MAX> {
    fn encode(&self, out: &mut Vec<u8>) {
        Opaque::<MAX>(self.0.as_bytes().to_vec()).encode(out);
    }

    fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
        let bytes = Opaque::<MAX>::decode(from)?.into_inner();
        String::from_utf8(bytes).map(Text).map_err(|_| XdrError::Value)
    }
}

fn bounded(from: &mut dyn Source, bound: u32) -> Result<usize, XdrError> {
    let length = u32::decode(from)?;
    if length > bound { Err(XdrError::Bound { length, bound }) } else { Ok(length as usize) }
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

macro_rules! tuples {
    ($($($name:ident)*;)*) => {$(
        impl<$($name: Xdr),*> Xdr for ($($name,)*) {
            #[allow(non_snake_case, unused_variables, reason = "the names of types serve as those of values")]
            fn encode(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.encode(out);)*
            }

            #[allow(unused_variables, reason = "the empty tuple reads nothing")]
            fn decode(from: &mut dyn Source) -> Result<Self, XdrError> {
                Ok(($($name::decode(from)?,)*))
            }
        }
    )*};
}

tuples! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

/// Declares a structure that travels field by field.
///
/// ```
/// rx_proto::xdr_struct! {
///     /// A point.
///     #[derive(Debug, Clone, PartialEq)]
///     pub struct Point {
///         /// To the right.
///         pub x: i32,
///         /// Up.
///         pub y: i32,
///     }
/// }
/// ```
#[macro_export]
macro_rules! xdr_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $kind),* }

        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::xdr::Xdr::encode(&self.$field, out);)*
            }

            fn decode(from: &mut dyn $crate::xdr::Source) -> Result<Self, $crate::xdr::XdrError> {
                Ok($name { $($field: <$kind as $crate::xdr::Xdr>::decode(from)?),* })
            }
        }
    };
}
