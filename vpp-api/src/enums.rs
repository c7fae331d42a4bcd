//! How VPP's enums are defined.

/// Defines one of VPP's enums as a number with names: values this build does not know survive decoding. Members that
/// VPP added without changing the checksum of messages (`backwards_compatible`) stand in an `added` block.
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[$m:meta])* pub enum $name:ident ($vpp:literal): $repr:ident { $($member:ident = $value:literal,)* }
        $( added { $($later:ident = $later_value:literal,)* } )?
    ) => {
        $(#[$m])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        #[allow(missing_docs)]
        impl $name {
            $( pub const $member: Self = Self($value); )*
            $( $( pub const $later: Self = Self($later_value); )* )?
            /// VPP's names and values.
            pub const MEMBERS: &'static [(&'static str, u64)] = &[
                $( (stringify!($member), $value), )*
                $( $( (stringify!($later), $later_value), )* )?
            ];
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match Self::MEMBERS.iter().find(|(_, value)| *value == u64::from(self.0)) {
                    Some((name, _)) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }

        impl From<$repr> for $name {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer) -> Result<(), $crate::codec::EncodeError> {
                $crate::codec::Encode::encode(&self.0, w)
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self(<$repr as $crate::codec::Decode>::decode(r)?))
            }
        }

        impl $crate::codec::Zero for $name {
            fn zero() -> Self {
                Self(0)
            }
        }

        impl $crate::codec::Wire for $name {
            const MIN_SIZE: usize = size_of::<$repr>();
            const SHAPE: $crate::shape::Shape = $crate::shape::Shape::Enum {
                name: $vpp,
                repr: stringify!($repr),
                members: &[ $( (stringify!($member), $value), )* ],
            };
        }
    };
    ($(#[$m:meta])* pub flags $name:ident ($vpp:literal): $repr:ident $($body:tt)*) => {
        $crate::wire_enum! { $(#[$m])* pub enum $name($vpp): $repr $($body)* }

        impl $name {
            /// Whether all bits of `other` are set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}
