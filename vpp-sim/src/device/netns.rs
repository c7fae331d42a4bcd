//! Work inside another network namespace, and the few netlink requests devices need.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::thread;

use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use super::DeviceError;

/// Opens a namespace as VPP's `clib_netns_open` does: `pid:N`, an absolute path, or a name under `/var/run/netns`.
pub fn open(name: &str) -> Result<File, DeviceError> {
    let path = if let Some(pid) = name.strip_prefix("pid:") {
        // atoi: what is no number is 0, whose namespace does not exist.
        format!("/proc/{}/ns/net", pid.parse::<u32>().unwrap_or(0))
    } else if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("/var/run/netns/{name}")
    };
    File::open(path).map_err(|source| DeviceError::Namespace {
        name: name.to_owned(),
        source,
    })
}

/// Runs `work` on a thread of its own in the given namespace (in the process's own if `None`). The thread ends with
/// the work, so no other thread ever sees the foreign namespace.
pub fn within<T, F>(namespace: Option<&File>, work: F) -> Result<T, DeviceError>
where
    T: Send,
    F: FnOnce(&Netlink) -> Result<T, DeviceError> + Send,
{
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if let Some(namespace) = namespace {
                setns(namespace, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| DeviceError::Enter(errno.into()))?;
            }
            work(&Netlink::connect()?)
        });
        worker
            .join()
            .unwrap_or_else(|_| Err(DeviceError::Enter(io::Error::other("namespace worker panicked"))))
    })
}

/// What the kernel says of a link.
pub struct Link {
    pub index: u32,
    pub mtu: u32,
    pub promiscuous: bool,
}

/// A netlink socket of the namespace it was made in.
pub struct Netlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
}

impl Netlink {
    fn connect() -> Result<Self, DeviceError> {
        let failed = |error: io::Error| DeviceError::Netlink {
            step: "open netlink socket",
            reason: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(failed)?;
        let guard = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        runtime.spawn(connection);
        drop(guard);
        Ok(Self { runtime, handle })
    }

    /// The link of that name, or `None`.
    pub fn link(&self, name: &str) -> Option<Link> {
        let request = self.handle.link().get().match_name(name.to_owned()).execute();
        let message: LinkMessage = self.runtime.block_on(async move {
            futures::pin_mut!(request);
            request.try_next().await.ok().flatten()
        })?;
        let mtu = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Some(Link {
            index: message.header.index,
            mtu: mtu.unwrap_or(1500),
            promiscuous: message.header.flags.contains(LinkFlags::Promisc),
        })
    }

    /// Changes a link as the message says.
    pub fn set_link(&self, step: &'static str, message: LinkMessage) -> Result<(), DeviceError> {
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .map_err(|error| failed(step, &error))
    }

    pub fn set_promiscuous(&self, index: u32, enable: bool) -> Result<(), DeviceError> {
        self.set_link(
            "set link promiscuous",
            LinkUnspec::new_with_index(index).promiscuous(enable).build(),
        )
    }

    pub fn add_address(&self, index: u32, address: IpAddr, length: u8) -> Result<(), DeviceError> {
        self.runtime
            .block_on(
                self.handle
                    .address()
                    .add(index, address, length)
                    .replace()
                    .execute(),
            )
            .map_err(|error| failed("add address", &error))
    }

    /// A default route without device: the kernel finds it, and refuses a gateway that is not on-link, as for VPP.
    pub fn default_route(&self, gateway: IpAddr) -> Result<(), DeviceError> {
        let message = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .gateway(gateway)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .gateway(gateway)
                .build(),
        };
        self.runtime
            .block_on(self.handle.route().add(message).replace().execute())
            .map_err(|error| failed("add default route", &error))
    }
}

fn failed(step: &'static str, error: &rtnetlink::Error) -> DeviceError {
    DeviceError::Netlink {
        step,
        reason: error.to_string(),
    }
}
