//! Control sockets: names as VPP reads them (`src/vppinfra/socket.c`, `clib_socket_init`), and messages with descriptors.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with,
};

use super::message::{LENGTH, Message};
use super::{Closed, Refusal};

/// Connections the kernel keeps until they are accepted, as in VPP.
const BACKLOG: i32 = 5;
/// Its users' group may connect as well.
const MODE: u32 = 0o775;

/// Where a control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    File(PathBuf),
    /// A name of no file, of a network namespace.
    Abstract {
        name: String,
        /// The process's own if absent.
        namespace: Option<PathBuf>,
    },
}

impl Address {
    /// Of a name that a client has given and that is under the runtime directory already if it was relative.
    ///
    /// # Errors
    /// What VPP cannot make a local socket of.
    pub fn parse(text: &str) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "unknown socket name");
        let name = |text: &str| text.bytes().all(is_name_byte);
        if text.starts_with('/') {
            return name(text).then(|| Self::File(text.into())).ok_or_else(unknown);
        }
        let rest = text.strip_prefix("abstract:").ok_or_else(unknown)?;
        let (own, namespace) = match rest.split_once(',') {
            None => (rest, None),
            Some((own, option)) => {
                let path = if let Some(there) = option.strip_prefix("netns_name=") {
                    // Of an absolute name no directory is left.
                    name(there).then(|| Path::new("/var/run/netns").join(there))
                } else {
                    let pid = option.strip_prefix("netns_pid=");
                    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
                    pid.map(|pid| format!("/proc/{pid}/ns/net").into())
                };
                (own, Some(path.ok_or_else(unknown)?))
            }
        };
        if !name(own) {
            return Err(unknown());
        }
        let name = own.to_owned();
        Ok(Self::Abstract { name, namespace })
    }

    fn unix(&self) -> io::Result<SocketAddrUnix> {
        Ok(match self {
            Self::File(path) => SocketAddrUnix::new(path.as_path())?,
            Self::Abstract { name, .. } => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        })
    }

    /// Work on a socket of the namespace the address is of.
    fn there<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let Self::Abstract {
            namespace: Some(namespace),
            ..
        } = self
        else {
            return work();
        };
        let namespace = File::open(namespace)?;
        // The thread ends with the work, so no other ever is in the foreign namespace.
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("namespace worker panicked")))
        })
    }

    /// Listens, as a master.
    ///
    /// # Errors
    /// Another one listens, or what the system says.
    pub fn listen(&self) -> io::Result<OwnedFd> {
        if let Self::File(path) = self {
            make_room(path)?;
        }
        let address = self.unix()?;
        let listener = self.there(|| {
            let socket = new_socket(SocketType::SEQPACKET)?;
            bind(&socket, &address)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        })?;
        if let Self::File(path) = self {
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        }
        Ok(listener)
    }

    /// Connects, as a slave.
    ///
    /// # Errors
    /// Nobody listens, or what the system says.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let address = self.unix()?;
        self.there(|| {
            let socket = new_socket(SocketType::SEQPACKET)?;
            connect(&socket, &address)?;
            Ok(socket)
        })
    }
}

/// What may stand in a name (`_clib_socket_get_string`).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_/-.".contains(&byte)
}

fn new_socket(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// Takes away what an earlier listener has left behind.
fn make_room(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // A stream that knocks at a socket of packets is told so, and does not enter.
    let probe = new_socket(SocketType::STREAM)?;
    match connect(&probe, &SocketAddrUnix::new(path)?).map_err(|errno| io::Error::from(errno).kind()) {
        Err(io::ErrorKind::ConnectionRefused) => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The next connection, if one waits.
pub fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(accept_with(
        listener,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    )?)
}

/// Sends a message, and a descriptor with it.
///
/// # Errors
/// The other end is gone, or doesn't read what it was sent.
pub fn send(to: impl AsFd, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    let bytes = message.encode();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(to, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// The next message and its descriptor; `None` if there is none yet.
///
/// # Errors
/// The other end is gone, or what it sent is no message.
pub fn receive(from: impl AsFd) -> Result<Option<(Message, Option<OwnedFd>)>, Closed> {
    let mut bytes = [0; LENGTH];
    // Descriptors for which there is no room, the kernel closes.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let length = match recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Ok(message) => message.bytes,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        Err(_) => return Err(Closed::Gone),
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            // All but the first are closed here.
            for each in received {
                descriptor.get_or_insert(each);
            }
        }
    }
    match length {
        LENGTH => Ok(Some((Message::decode(&bytes)?, descriptor))),
        0 => Err(Closed::Gone),
        _ => Err(Refusal("malformed message").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_vpp_does() {
        let file = |path: &str| Some(Address::File(path.into()));
        let name = |name: &str, namespace: Option<&str>| {
            Some(Address::Abstract {
                name: name.to_owned(),
                namespace: namespace.map(PathBuf::from),
            })
        };
        let table = [
            ("/run/vpp/m1.sock", file("/run/vpp/m1.sock")),
            ("abstract:vpp/memif-1", name("vpp/memif-1", None)),
            (
                "abstract:m,netns_name=pod-1",
                name("m", Some("/var/run/netns/pod-1")),
            ),
            (
                "abstract:m,netns_name=/proc/7/ns/net",
                name("m", Some("/proc/7/ns/net")),
            ),
            ("abstract:m,netns_pid=7", name("m", Some("/proc/7/ns/net"))),
            ("abstract:m,netns_pid=x", None),
            ("abstract:m,other=1", None),
            ("abstract:a b", None),
            ("/run/a b", None),
            ("/run/@x", None),
            ("tcp:localhost:1", None),
            ("unix:/run/x", None),
            ("@x", None),
            ("", None),
        ];
        for (text, address) in table {
            assert_eq!(Address::parse(text).ok(), address, "{text}");
        }
    }

    #[test]
    fn a_listener_takes_the_place_of_a_dead_one_and_of_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.sock");
        let address = Address::File(path.clone());
        let first = address.listen().unwrap();
        assert!(address.listen().is_err(), "one that lives");
        drop(first);
        let second = address.listen().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        address.connect().unwrap();
        accept(&second).unwrap();
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(address.listen().is_err(), "a file");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn half_messages_and_closed_ends_are_told_apart_from_waiting() {
        let pair = || {
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
        };
        let (near, far) = pair();
        assert_eq!(receive(&near).unwrap().map(|_| ()), None);
        rustix::net::send(&far, &[1; 127], SendFlags::empty()).unwrap();
        assert_eq!(
            receive(&near).err(),
            Some(Closed::Refused(Refusal("malformed message")))
        );
        let directory = tempfile::tempfile().unwrap();
        send(&far, &Message::Ack, Some(directory.as_fd())).unwrap();
        let (message, descriptor) = receive(&near).unwrap().unwrap();
        assert_eq!((message, descriptor.is_some()), (Message::Ack, true));
        drop(far);
        assert_eq!(receive(&near).err(), Some(Closed::Gone));
    }
}
