//! The language in which types and messages are defined.
//!
//! A field is written as in VPP's API files, with the type behind the name: `mtu: u32[4]`, `tag: string[64]` (fixed
//! size), `cmd: string[]` (length in front), and for counted arrays the pair `n_paths: u8 = count(paths)` …
//! `paths: FibPath[n_paths]`, of which only the array becomes a field of the struct.

/// Defines a struct with VPP's fields in VPP's order and derives its codec.
#[macro_export]
macro_rules! wire_struct {
    ($(#[$m:meta])* pub struct $name:ident ($vpp:literal) { $($body:tt)* }) => {
        $crate::__wire_fields! { { [$(#[$m])*] $name $vpp } {} {} $($body)* }
    };
}

/// Sorts the fields of a definition into those of the Rust struct and those on the wire.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire_fields {
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : $t:ident = count($of:ident), $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)*} {$($w)* {count $f $t $of}} $($rest)* }
    };
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : string [ ], $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)* {[$(#[$m])*] $f (String)}} {$($w)* {string $f}} $($rest)* }
    };
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : string [ $n:literal ], $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)* {[$(#[$m])*] $f (String)}} {$($w)* {text $f $n}} $($rest)* }
    };
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : $t:ident [ $n:literal ], $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)* {[$(#[$m])*] $f ([$t; $n])}} {$($w)* {array $f $t $n}} $($rest)* }
    };
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : $t:ident [ $n:ident ], $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)* {[$(#[$m])*] $f (Vec<$t>)}} {$($w)* {counted $f $t $n}} $($rest)* }
    };
    ($h:tt {$($s:tt)*} {$($w:tt)*} $(#[$m:meta])* $f:ident : $t:ident, $($rest:tt)*) => {
        $crate::__wire_fields! { $h {$($s)* {[$(#[$m])*] $f ($t)}} {$($w)* {plain $f $t}} $($rest)* }
    };
    (
        { [$($m:tt)*] $name:ident $vpp:literal }
        { $({ [$($fm:tt)*] $f:ident ($t:ty) })* }
        { $({ $kind:ident $wf:ident $($spec:tt)* })* }
    ) => {
        $($m)*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $( $($fm)* pub $f: $t, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $f: $crate::codec::Zero::zero(), )* }
            }
        }

        impl $crate::codec::Zero for $name {
            fn zero() -> Self {
                Self::default()
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer) -> Result<(), $crate::codec::EncodeError> {
                let _ = &w;
                $( $crate::__encode_field!(self w $kind $wf $($spec)*); )*
                Ok(())
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let _ = &r;
                $( $crate::__decode_field!(r $kind $wf $($spec)*); )*
                Ok(Self { $( $f, )* })
            }
        }

        impl $crate::codec::Wire for $name {
            const MIN_SIZE: usize = 0 $( + $crate::__min_size!($kind $($spec)*) )*;
            const SHAPE: $crate::shape::Shape = $crate::shape::Shape::Struct {
                name: $vpp,
                fields: &[ $( $crate::__field_spec!($kind $wf $($spec)*), )* ],
            };
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __encode_field {
    ($s:ident $w:ident count $f:ident $t:ident $of:ident) => {
        $crate::codec::encode_count::<$t>(stringify!($of), $s.$of.len(), $w)?
    };
    ($s:ident $w:ident string $f:ident) => {
        $crate::codec::encode_string(stringify!($f), &$s.$f, $w)?
    };
    ($s:ident $w:ident text $f:ident $n:literal) => {
        $crate::codec::encode_fixed_string(stringify!($f), &$s.$f, $n, $w)?
    };
    ($s:ident $w:ident counted $f:ident $t:ident $n:ident) => {
        $s.$f
            .iter()
            .try_for_each(|element| $crate::codec::Encode::encode(element, $w))?
    };
    ($s:ident $w:ident $kind:ident $f:ident $($spec:tt)*) => {
        $crate::codec::Encode::encode(&$s.$f, $w)?
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __decode_field {
    ($r:ident count $f:ident $t:ident $of:ident) => {
        let $f = $crate::codec::Count::length(<$t as $crate::codec::Decode>::decode($r)?);
    };
    ($r:ident string $f:ident) => {
        let $f = $crate::codec::decode_string($r)?;
    };
    ($r:ident text $f:ident $n:literal) => {
        let $f = $crate::codec::decode_fixed_string($n, $r)?;
    };
    ($r:ident counted $f:ident $t:ident $n:ident) => {
        let $f = $crate::codec::decode_elements::<$t>($n, $r)?;
    };
    ($r:ident array $f:ident $t:ident $n:literal) => {
        let $f = <[$t; $n] as $crate::codec::Decode>::decode($r)?;
    };
    ($r:ident plain $f:ident $t:ident) => {
        let $f = <$t as $crate::codec::Decode>::decode($r)?;
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __min_size {
    (count $t:ident $of:ident) => {
        <$t as $crate::codec::Wire>::MIN_SIZE
    };
    (string) => {
        4
    };
    (text $n:literal) => {
        $n
    };
    (counted $t:ident $n:ident) => {
        0
    };
    (array $t:ident $n:literal) => {
        <$t as $crate::codec::Wire>::MIN_SIZE * $n
    };
    (plain $t:ident) => {
        <$t as $crate::codec::Wire>::MIN_SIZE
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __field_spec {
    (@ $f:ident $token:ident ($shape:expr) $($repeat:tt)*) => {
        $crate::shape::FieldSpec {
            ident: stringify!($f),
            token: stringify!($token),
            shape: $shape,
            repeat: $crate::shape::Repeat::$($repeat)*,
        }
    };
    (string $f:ident) => {
        $crate::__field_spec!(@ $f string (&$crate::shape::Shape::Primitive("string")) Prefixed)
    };
    (text $f:ident $n:literal) => {
        $crate::__field_spec!(@ $f string (&$crate::shape::Shape::Primitive("string")) Fixed($n))
    };
    (counted $f:ident $t:ident $n:ident) => {
        $crate::__field_spec!(@ $f $t (&<$t as $crate::codec::Wire>::SHAPE) Counted(stringify!($n)))
    };
    (array $f:ident $t:ident $n:literal) => {
        $crate::__field_spec!(@ $f $t (&<$t as $crate::codec::Wire>::SHAPE) Fixed($n))
    };
    ($kind:ident $f:ident $t:ident $($of:ident)?) => {
        $crate::__field_spec!(@ $f $t (&<$t as $crate::codec::Wire>::SHAPE) One)
    };
}

/// Defines the messages of one API file.
///
/// Each entry is a request with its answer: `request X(name, crc) {…} ack XReply;` (answer with a return code only),
/// `… reply Y(name, crc) {…};`, `dump X(…) {…} details Y(…) {…};`, `get X(…) {…} details Y(…) {…} stream_reply
/// Z(…) {…};`; an `event E(…) {…};`; or `asks X(…) {…};`, whose answers stand elsewhere: another message's, or `answers
/// Y(…) {…};`. Odd answers: those that begin with `client_` keep the client index in their head, a `plain_reply` has no
/// return code.
#[macro_export]
macro_rules! messages {
    ($(
        $(#[$m:meta])* $kind:ident $name:ident ($n:literal, $crc:literal) { $($body:tt)* }
        $( $(#[$am:meta])* $akind:ident $aname:ident $( ($an:literal, $acrc:literal) { $($abody:tt)* } )? )*
        ;
    )*) => {
        $(
            $crate::__message! { $kind [$(#[$m])*] $name $n $crc { $($body)* } $($aname)* }
            $( $crate::__message! {
                $akind [$(#[$am])*] $aname $( $an $acrc { $($abody)* } )? ; $name $n
            } )*
        )*

        /// Every message of this API file, requests and answers.
        pub const MESSAGES: &[$crate::message::MessageInfo] = &[
            $(
                $crate::message::MessageInfo::of::<$name>(),
                $( $crate::message::MessageInfo::of::<$aname>(), )*
            )*
        ];
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __message {
    (@define [$($m:tt)*] $name:ident $n:literal $crc:literal $head:ident { $($body:tt)* }) => {
        $crate::wire_struct! { $($m)* pub struct $name($n) { $($body)* } }

        impl $crate::message::Message for $name {
            const NAME: &'static str = $n;
            const CRC: &'static str = $crc;
            const NAME_CRC: &'static str = concat!($n, "_", $crc);
            const HEAD: $crate::message::Head = $crate::message::Head::$head;
        }
    };
    (@retval $name:ident) => {
        impl $crate::message::Reply for $name {
            fn retval(&self) -> i32 {
                self.retval
            }
        }
    };

    (request $m:tt $name:ident $n:literal $crc:literal $body:tt $reply:ident) => {
        $crate::__message! { @define $m $name $n $crc ClientAndContext $body }
        impl $crate::message::Request for $name {
            type Reply = $reply;
        }
    };
    (handshake $m:tt $name:ident $n:literal $crc:literal $body:tt $reply:ident) => {
        $crate::__message! { @define $m $name $n $crc Context $body }
    };
    (dump $m:tt $name:ident $n:literal $crc:literal $body:tt $details:ident) => {
        $crate::__message! { @define $m $name $n $crc ClientAndContext $body }
        impl $crate::message::Dump for $name {
            type Details = $details;
        }
    };
    (get $m:tt $name:ident $n:literal $crc:literal $body:tt $details:ident $reply:ident) => {
        $crate::__message! { @define $m $name $n $crc ClientAndContext $body }
        impl $crate::message::GetStream for $name {
            type Details = $details;
            type Reply = $reply;
            fn set_cursor(&mut self, cursor: u32) {
                self.cursor = cursor;
            }
        }
    };
    (event $m:tt $name:ident $n:literal $crc:literal $body:tt) => {
        $crate::__message! { @define $m $name $n $crc ClientAndPid $body }
        impl $crate::message::Event for $name {}
    };

    (asks $m:tt $name:ident $n:literal $crc:literal $body:tt) => {
        $crate::__message! { @define $m $name $n $crc ClientAndContext $body }
    };

    (client_answers $m:tt $name:ident $n:literal $crc:literal $body:tt) => {
        $crate::__message! { @define $m $name $n $crc ClientAndContext $body }
    };
    (answers $m:tt $name:ident $n:literal $crc:literal $body:tt) => {
        $crate::__message! { @define $m $name $n $crc Context $body }
    };

    (ack [$($m:tt)*] $name:ident ; $request:ident $n:literal) => {
        $crate::wire_struct! {
            $($m)*
            #[doc = concat!("Answer to [`", stringify!($request), "`].")]
            pub struct $name("ack") { retval: i32, }
        }
        impl $crate::message::Message for $name {
            const NAME: &'static str = concat!($n, "_reply");
            const CRC: &'static str = "e8d4e804";
            const NAME_CRC: &'static str = concat!($n, "_reply_e8d4e804");
            const HEAD: $crate::message::Head = $crate::message::Head::Context;
        }
        $crate::__message! { @retval $name }
    };
    (reply [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("Answer to [`", stringify!($request), "`].")]]
            $name $n $crc Context $body
        }
        $crate::__message! { @retval $name }
    };
    (client_reply [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("Answer to [`", stringify!($request), "`].")]]
            $name $n $crc ClientAndContext $body
        }
        $crate::__message! { @retval $name }
    };
    (plain_reply [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("Answer to [`", stringify!($request), "`]; has no return code.")]]
            $name $n $crc Context $body
        }
        impl $crate::message::Reply for $name {
            fn retval(&self) -> i32 {
                0
            }
        }
    };
    (plain_client_reply [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("Answer to [`", stringify!($request), "`]; has no return code.")]]
            $name $n $crc ClientAndContext $body
        }
    };
    (stream_reply [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("End of the answer to [`", stringify!($request), "`].")]]
            $name $n $crc Context $body
        }
        $crate::__message! { @retval $name }
        impl $crate::message::StreamReply for $name {
            fn cursor(&self) -> u32 {
                self.cursor
            }
        }
    };
    (client_details [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("One element of the answer to [`", stringify!($request), "`].")]]
            $name $n $crc ClientAndContext $body
        }
    };
    (details [$($m:tt)*] $name:ident $n:literal $crc:literal $body:tt ; $request:ident $rn:literal) => {
        $crate::__message! {
            @define [$($m)* #[doc = concat!("One element of the answer to [`", stringify!($request), "`].")]]
            $name $n $crc Context $body
        }
    };
}
