//! Remote procedures: one declaration gives the client's requests, the server's trait and the dispatch.
//!
//! A call is a stream of bytes each way; the traits here say no more of it, so that the same declarations work over
//! UDP and in a simulator. See [`crate::procedures`].

use std::marker::PhantomData;

use crate::codes::{AbortCode, CallFailure};
use crate::names::Caller;
use crate::xdr::{Source, Xdr, XdrError};

/// The two streams of a call, ours to write and the peer's to read.
pub trait CallStream {
    /// Writes all of `bytes`; may wait for room.
    ///
    /// # Errors
    /// The call has failed so.
    fn write(&mut self, bytes: &[u8]) -> Result<(), CallFailure>;

    /// Reads some bytes, 0 at the end of the peer's stream; may wait. A client's first read ends its request.
    ///
    /// # Errors
    /// The call has failed so.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, CallFailure>;
}

/// A call as its server sees it.
pub trait ServedCall: CallStream {
    /// Who calls.
    fn caller(&self) -> &Caller;
}

/// Something that calls can be made with: a connection.
pub trait Dial {
    /// A call that was begun.
    type Call: CallStream;

    /// Begins a call; may wait for a free channel.
    ///
    /// # Errors
    /// The connection has failed.
    fn dial(&self) -> Result<Self::Call, CallFailure>;

    /// Ends a call that was read to its end.
    ///
    /// # Errors
    /// The call has failed so.
    fn complete(&self, call: Self::Call) -> Result<(), CallFailure>;
}

/// Reads XDR from a call.
pub struct FromCall<'a, C: CallStream + ?Sized>(pub &'a mut C);

impl<C: CallStream + ?Sized> Source for FromCall<'_, C> {
    fn take(&mut self, mut out: &mut [u8]) -> Result<(), XdrError> {
        while !out.is_empty() {
            match self.0.read(out) {
                Ok(0) => return Err(XdrError::Stream(CallFailure::ENDED)),
                Ok(count) => out = &mut out[count..],
                Err(failure) => return Err(XdrError::Stream(failure)),
            }
        }
        Ok(())
    }
}

/// Reads a value from a call.
///
/// # Errors
/// The code of the call if it failed, otherwise `malformed`.
pub fn read_value<T: Xdr>(
    call: &mut (impl CallStream + ?Sized),
    malformed: AbortCode,
) -> Result<T, CallFailure> {
    T::decode(&mut FromCall(call)).map_err(|error| match error {
        XdrError::Stream(failure) if failure != CallFailure::ENDED => failure,
        _ => CallFailure::Unanswered(malformed),
    })
}

/// Writes a value to a call.
///
/// # Errors
/// The call has failed so.
pub fn write_value(call: &mut (impl CallStream + ?Sized), value: &impl Xdr) -> Result<(), CallFailure> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    call.write(&bytes)
}

/// The bytes of a request, and the type of its reply.
#[derive(Debug, Clone)]
pub struct Request<R> {
    bytes: Vec<u8>,
    reply: PhantomData<fn() -> R>,
}

/// The reply of a procedure whose caller reads and writes the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream;

impl<R> Request<R> {
    /// A call of procedure `opcode`.
    pub fn new(opcode: u32, arguments: &impl Xdr) -> Self {
        let mut bytes = opcode.to_be_bytes().to_vec();
        arguments.encode(&mut bytes);
        Request { bytes, reply: PhantomData }
    }

    /// Opcode and arguments as they travel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<R: Xdr> Request<R> {
    /// Makes the call and waits for the reply.
    ///
    /// # Errors
    /// How it failed; [`AbortCode::CLIENT_UNMARSHAL`] for a reply that cannot be decoded.
    pub fn call<D: Dial + ?Sized>(&self, dial: &D) -> Result<R, CallFailure> {
        let mut call = dial.dial()?;
        call.write(&self.bytes)?;
        let reply = read_value(&mut call, AbortCode::CLIENT_UNMARSHAL)?;
        finish_reading(&mut call)?;
        dial.complete(call)?;
        Ok(reply)
    }

    /// The reply in these bytes.
    ///
    /// # Errors
    /// [`AbortCode::CLIENT_UNMARSHAL`] if they are none.
    pub fn decode_reply(&self, mut bytes: &[u8]) -> Result<R, AbortCode> {
        R::decode(&mut bytes).map_err(|_| AbortCode::CLIENT_UNMARSHAL)
    }
}

impl Request<Stream> {
    /// Begins the call and sends opcode and arguments; the rest is the caller's.
    ///
    /// # Errors
    /// How it failed.
    pub fn open<D: Dial + ?Sized>(&self, dial: &D) -> Result<D::Call, CallFailure> {
        let mut call = dial.dial()?;
        call.write(&self.bytes)?;
        Ok(call)
    }
}

/// Reads what comes after a reply, of which there may be none; the end has to be seen for the call to be complete.
fn finish_reading(call: &mut impl CallStream) -> Result<(), CallFailure> {
    let mut rest = [0; 64];
    match call.read(&mut rest)? {
        0 => Ok(()),
        _ => Err(CallFailure::Unanswered(AbortCode::CLIENT_UNMARSHAL)),
    }
}

/// Declares the procedures of a service, one line each. Gives a module with
///
/// * `SERVICE`, its id;
/// * `request::name(arguments)`, the [`Request`] that a client calls or opens;
/// * `trait Server` with a method each, and `dispatch`, which decodes a call and answers it.
///
/// `fn` procedures decode all arguments, and reply with one value. `stream fn` procedures get the call itself after
/// the arguments; server and client read and write it as the procedure demands. An opcode that is not declared is
/// answered with [`AbortCode::OPCODE`], arguments that are malformed with [`AbortCode::SERVER_UNMARSHAL`].
///
/// ```
/// rx_proto::procedures! {
///     /// Adds numbers.
///     pub service adder = 77 {
///         /// The sum of two numbers.
///         1 fn add(left: i32, right: i32) -> i32;
///         /// The sum of so many numbers that follow.
///         2 stream fn add_many(count: u32);
///     }
/// }
/// assert_eq!(adder::request::add(1, 2).bytes(), [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
/// ```
#[macro_export]
macro_rules! procedures {
    ($(#[$meta:meta])* $vis:vis service $service:ident = $id:literal { $($body:tt)* }) => {
        $(#[$meta])*
        $vis mod $service {
            #[allow(unused_imports, reason = "the types of arguments and replies are those in scope around")]
            use super::*;

            /// The service's id.
            pub const SERVICE: $crate::ServiceId = $crate::ServiceId($id);

            /// Requests of a client, one function a procedure.
            pub mod request {
                #[allow(unused_imports, reason = "as above")]
                use super::*;
                $crate::procedures!(@requests $($body)*);
            }

            $crate::procedures!(@server [] [] $($body)*);
        }
    };
    (@requests) => {};
    (@requests $(#[$meta:meta])* $opcode:literal fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $reply:ty; $($rest:tt)*) => {
        $(#[$meta])*
        pub fn $name($($argument: $kind),*) -> $crate::rpc::Request<$reply> {
            $crate::rpc::Request::new($opcode, &($($argument,)*))
        }
        $crate::procedures!(@requests $($rest)*);
    };
    (@requests $(#[$meta:meta])* $opcode:literal fn $name:ident($($argument:ident: $kind:ty),* $(,)?); $($rest:tt)*) => {
        $crate::procedures!(@requests $(#[$meta])* $opcode fn $name($($argument: $kind),*) -> (); $($rest)*);
    };
    (@requests $(#[$meta:meta])* $opcode:literal stream fn $name:ident($($argument:ident: $kind:ty),* $(,)?); $($rest:tt)*) => {
        $(#[$meta])*
        pub fn $name($($argument: $kind),*) -> $crate::rpc::Request<$crate::rpc::Stream> {
            $crate::rpc::Request::new($opcode, &($($argument,)*))
        }
        $crate::procedures!(@requests $($rest)*);
    };
    (@server [$($methods:tt)*] [$($arms:tt)*]) => {
        /// What a server of the procedures does. An error is the code that the caller gets.
        #[allow(clippy::too_many_arguments, reason = "the wire decides how many there are")]
        pub trait Server {
            $($methods)*
        }

        /// Reads the opcode and the arguments of a call, lets `server` answer, and writes its reply.
        ///
        /// # Errors
        /// The code to abort the call with.
        pub fn dispatch(
            server: &(impl Server + ?Sized),
            call: &mut dyn $crate::rpc::ServedCall,
        ) -> Result<(), $crate::AbortCode> {
            let opcode: u32 = $crate::rpc::read_value(call, $crate::AbortCode::DECODE)?;
            $crate::procedures!(@dispatch server call opcode $($arms)*)
        }
    };
    (@server [$($methods:tt)*] [$($arms:tt)*] $(#[$meta:meta])* $opcode:literal fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $reply:ty; $($rest:tt)*) => {
        $crate::procedures!(@server
            [$($methods)* $(#[$meta])* fn $name(&self, caller: &$crate::Caller, $($argument: $kind),*) -> Result<$reply, $crate::AbortCode>;]
            [$($arms)* ($opcode, value, $name, ($($argument: $kind),*))]
            $($rest)*);
    };
    (@server [$($methods:tt)*] [$($arms:tt)*] $(#[$meta:meta])* $opcode:literal fn $name:ident($($argument:ident: $kind:ty),* $(,)?); $($rest:tt)*) => {
        $crate::procedures!(@server [$($methods)*] [$($arms)*] $(#[$meta])* $opcode fn $name($($argument: $kind),*) -> (); $($rest)*);
    };
    (@server [$($methods:tt)*] [$($arms:tt)*] $(#[$meta:meta])* $opcode:literal stream fn $name:ident($($argument:ident: $kind:ty),* $(,)?); $($rest:tt)*) => {
        $crate::procedures!(@server
            [$($methods)* $(#[$meta])* fn $name(&self, call: &mut dyn $crate::rpc::ServedCall, $($argument: $kind),*) -> Result<(), $crate::AbortCode>;]
            [$($arms)* ($opcode, stream, $name, ($($argument: $kind),*))]
            $($rest)*);
    };
    (@dispatch $server:ident $call:ident $number:ident $(($opcode:literal, $way:ident, $name:ident, ($($argument:ident: $kind:ty),*)))*) => {
        match $number {
            $($opcode => {
                #[allow(unused_parens, reason = "one argument needs none")]
                let ($($argument,)*): ($($kind,)*) =
                    $crate::rpc::read_value($call, $crate::AbortCode::SERVER_UNMARSHAL)?;
                $crate::procedures!(@answer $way $server $call $name ($($argument),*))
            })*
            _ => Err($crate::AbortCode::OPCODE),
        }
    };
    (@answer value $server:ident $call:ident $name:ident ($($argument:ident),*)) => {{
        let reply = $server.$name($call.caller(), $($argument),*)?;
        $crate::rpc::write_value($call, &reply)?;
        Ok(())
    }};
    (@answer stream $server:ident $call:ident $name:ident ($($argument:ident),*)) => {
        $server.$name($call, $($argument),*)
    };
}
