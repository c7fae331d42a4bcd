//! The definition of a type as data: what VPP's API compiler would see, so that ours can be checked against VPP's.

/// VPP's definition of a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// `u32`, `bool`, … ; `string` only as an array.
    Primitive(&'static str),
    /// A `typedef` of a primitive or of an array of one, by VPP's name without `vl_api_` and `_t`.
    Alias(&'static str),
    /// `enum` or `enumflag`.
    Enum {
        name: &'static str,
        repr: &'static str,
        members: &'static [(&'static str, u64)],
    },
    /// `typedef` with fields.
    Struct {
        name: &'static str,
        fields: &'static [FieldSpec],
    },
    /// `union`.
    Union {
        name: &'static str,
        fields: &'static [FieldSpec],
    },
}

/// How often a field is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    One,
    /// `x[N]`.
    Fixed(usize),
    /// `x[count]`, counted by the named earlier field.
    Counted(&'static str),
    /// `string x[]`.
    Prefixed,
}

/// One field of a struct, union or message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FieldSpec {
    /// Rust's name: VPP's, or VPP's with `_` behind it where it is a keyword.
    pub ident: &'static str,
    /// The Rust type as written in the definition; tells an alias from what it stands for.
    pub token: &'static str,
    /// The definition of that type.
    pub shape: &'static Shape,
    /// How often it is there.
    pub repeat: Repeat,
}

/// Rust aliases and the VPP aliases they stand for.
const ALIASES: &[(&str, &str)] = &[
    ("InterfaceIndex", "interface_index"),
    ("AddressWithPrefix", "address_with_prefix"),
    ("Ip4AddressWithPrefix", "ip4_address_with_prefix"),
    ("Ip6AddressWithPrefix", "ip6_address_with_prefix"),
    ("Timestamp", "timestamp"),
];

impl FieldSpec {
    /// VPP's name of the field.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.ident.strip_suffix('_').unwrap_or(self.ident)
    }

    /// The definition of the field's type as VPP names it: an alias where VPP declares the field by one.
    #[must_use]
    pub fn declared(&self) -> Shape {
        ALIASES
            .iter()
            .find(|(token, _)| *token == self.token)
            .map_or(*self.shape, |(_, vpp)| Shape::Alias(vpp))
    }
}

impl Shape {
    /// VPP's name of the type as written in a message definition, such as `u32` or `vl_api_prefix_t`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Self::Primitive(name) => (*name).to_owned(),
            Self::Alias(name)
            | Self::Enum { name, .. }
            | Self::Struct { name, .. }
            | Self::Union { name, .. } => {
                format!("vl_api_{name}_t")
            }
        }
    }
}
