//! How a field looks on VPP's wire: packed, big-endian integers, one-byte booleans, little-endian floats.
//!
//! Rules: VPP's API language (`src/tools/vppapigen`). Floats are little-endian because VPP does not swap them
//! (`clib_host_to_net_f64` is a no-op), and every supported host is little-endian.

use crate::shape::Shape;

/// A value that the wire format cannot carry. Nothing has been sent when this is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string longer than its fixed field; the last byte of the field is its terminator.
    #[error("field {field}: {length} bytes do not fit, at most {max} do")]
    StringTooLong {
        field: &'static str,
        length: usize,
        max: usize,
    },
    /// A fixed-size string ends at its first NUL, so what follows would be lost.
    #[error("field {field}: contains a NUL byte")]
    NulInString { field: &'static str },
    /// More elements than the field's counter can say.
    #[error("field {field}: {length} elements, at most {max} can be counted")]
    TooManyElements {
        field: &'static str,
        length: usize,
        max: usize,
    },
}

/// Bytes that are not the expected message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside a field.
    #[error("message ends too early: {needed} bytes needed, {left} left")]
    Short { needed: usize, left: usize },
    /// An address family other than 0 (IPv4) and 1 (IPv6): the 16 bytes beside it have no meaning.
    #[error("address family {0} is neither 0 (IPv4) nor 1 (IPv6)")]
    AddressFamily(u8),
}

/// Collects the bytes of a message.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Writes behind what `buffer` already holds.
    #[must_use]
    pub fn new(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Appends raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends `count` zero bytes.
    pub fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// Everything written, with what was there before.
    #[must_use]
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a message apart. Never reads beyond its end, never panics.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Short {
            needed: count,
            left: self.0.len(),
        })?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short {
            needed: N,
            left: self.0.len(),
        })?;
        self.0 = tail;
        Ok(*head)
    }
}

/// A value that can be written.
pub trait Encode {
    /// Appends this value.
    ///
    /// # Errors
    /// [`EncodeError`] when the wire format cannot carry the value.
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError>;
}

/// A value that can be read.
pub trait Decode: Sized {
    /// Reads one value and moves on.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes do not hold one.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The value whose encoding is all zeros; the default of every field.
pub trait Zero {
    /// That value.
    fn zero() -> Self;
}

/// One of VPP's types: both directions, plus its definition.
pub trait Wire: Encode + Decode + Zero {
    /// Fewest bytes a value takes; bounds what a count in a message can make us allocate.
    const MIN_SIZE: usize;
    /// VPP's definition of the type, for checking ours.
    const SHAPE: Shape;
}

macro_rules! numbers {
    ($($t:ident $to:ident $from:ident,)*) => { $(
        impl Encode for $t {
            fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
                w.bytes(&self.$to());
                Ok(())
            }
        }
        impl Decode for $t {
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::$from(r.array()?))
            }
        }
        impl Zero for $t {
            fn zero() -> Self {
                Self::default()
            }
        }
        impl Wire for $t {
            const MIN_SIZE: usize = size_of::<Self>();
            const SHAPE: Shape = Shape::Primitive(stringify!($t));
        }
    )* };
}

numbers! {
    u8 to_be_bytes from_be_bytes,
    u16 to_be_bytes from_be_bytes,
    u32 to_be_bytes from_be_bytes,
    u64 to_be_bytes from_be_bytes,
    i32 to_be_bytes from_be_bytes,
    f64 to_le_bytes from_le_bytes,
}

impl Encode for bool {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&[u8::from(*self)]);
        Ok(())
    }
}

impl Decode for bool {
    /// Any value but 0 is true, as in C.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(r.array::<1>()? != [0])
    }
}

impl Zero for bool {
    fn zero() -> Self {
        false
    }
}

impl Wire for bool {
    const MIN_SIZE: usize = 1;
    const SHAPE: Shape = Shape::Primitive("bool");
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        self.iter().try_for_each(|element| element.encode(w))
    }
}

impl<T: Decode + Zero, const N: usize> Decode for [T; N] {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut all = Self::zero();
        for element in &mut all {
            *element = T::decode(r)?;
        }
        Ok(all)
    }
}

impl<T: Zero, const N: usize> Zero for [T; N] {
    fn zero() -> Self {
        std::array::from_fn(|_| T::zero())
    }
}

impl Zero for String {
    fn zero() -> Self {
        Self::new()
    }
}

impl<T> Zero for Vec<T> {
    fn zero() -> Self {
        Self::new()
    }
}

/// The integer in front of an array that says how many elements follow.
pub trait Count: Wire {
    /// The largest count it can hold.
    const MAX: usize;
    /// `length` as this integer, if it fits.
    fn from_length(length: usize) -> Option<Self>;
    /// The count as a length.
    fn length(self) -> usize;
}

macro_rules! counts {
    ($($t:ident)*) => { $(
        impl Count for $t {
            const MAX: usize = Self::MAX as usize;
            fn from_length(length: usize) -> Option<Self> {
                Self::try_from(length).ok()
            }
            fn length(self) -> usize {
                self as usize
            }
        }
    )* };
}

counts!(u8 u16 u32);

/// Writes how many elements `field` has.
///
/// # Errors
/// [`EncodeError::TooManyElements`] when the counter is too small for them.
pub fn encode_count<C: Count>(field: &'static str, length: usize, w: &mut Writer) -> Result<(), EncodeError> {
    C::from_length(length)
        .ok_or(EncodeError::TooManyElements {
            field,
            length,
            max: C::MAX,
        })?
        .encode(w)
}

/// Reads `count` elements. A count that the rest of the message cannot hold is refused before anything is allocated.
///
/// # Errors
/// [`DecodeError`] when the message is too short for them or an element is bad.
pub fn decode_elements<T: Wire>(count: usize, r: &mut Reader<'_>) -> Result<Vec<T>, DecodeError> {
    let needed = count.saturating_mul(T::MIN_SIZE.max(1));
    if needed > r.left() {
        return Err(DecodeError::Short {
            needed,
            left: r.left(),
        });
    }
    (0..count).map(|_| T::decode(r)).collect()
}

/// Writes `string name[size]`: padded with zeros, at least one of them.
///
/// # Errors
/// [`EncodeError::StringTooLong`] and [`EncodeError::NulInString`].
pub fn encode_fixed_string(
    field: &'static str,
    text: &str,
    size: usize,
    w: &mut Writer,
) -> Result<(), EncodeError> {
    let max = size.saturating_sub(1);
    if text.len() > max {
        return Err(EncodeError::StringTooLong {
            field,
            length: text.len(),
            max,
        });
    }
    if text.bytes().any(|byte| byte == 0) {
        return Err(EncodeError::NulInString { field });
    }
    w.bytes(text.as_bytes());
    w.zeros(size - text.len());
    Ok(())
}

/// Reads `string name[size]` up to its first NUL. Bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// [`DecodeError::Short`] when fewer than `size` bytes are left.
pub fn decode_fixed_string(size: usize, r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = r.bytes(size)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Writes `string name[]`: length, then the bytes, no terminator.
///
/// # Errors
/// [`EncodeError::TooManyElements`] beyond 4 GiB.
pub fn encode_string(field: &'static str, text: &str, w: &mut Writer) -> Result<(), EncodeError> {
    encode_count::<u32>(field, text.len(), w)?;
    w.bytes(text.as_bytes());
    Ok(())
}

/// Reads `string name[]`. Some senders count a terminating NUL, which is dropped; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// [`DecodeError::Short`] when the length is more than what is left.
pub fn decode_string(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let length = u32::decode(r)?.length();
    let bytes = r.bytes(length)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}
