//! A TCP relay between network namespaces: it listens in one and connects from the one it was started in.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// Relays connections until the process ends.
pub async fn relay(netns: &Path, listen: &[SocketAddr], to: SocketAddr) -> Result<()> {
    let mut accepting = Vec::new();
    for listener in listeners(netns, listen)? {
        listener.set_nonblocking(true)?;
        accepting.push(tokio::spawn(accept(
            tokio::net::TcpListener::from_std(listener)?,
            to,
        )));
    }
    for task in accepting {
        task.await??;
    }
    Ok(())
}

/// Opens the listening sockets in the namespace. A socket stays in the namespace it was made in, so a
/// thread of its own goes there and ends; the rest of the process never leaves.
fn listeners(netns: &Path, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let (netns, addresses) = (netns.to_owned(), addresses.to_owned());
    let opened = std::thread::spawn(move || -> Result<Vec<TcpListener>> {
        let namespace = File::open(&netns).with_context(|| format!("opening {}", netns.display()))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
        addresses
            .iter()
            .map(|address| TcpListener::bind(address).with_context(|| format!("listening on {address}")))
            .collect()
    });
    opened
        .join()
        .map_err(|_| anyhow!("the listening thread panicked"))?
}

async fn accept(listener: tokio::net::TcpListener, to: SocketAddr) -> Result<()> {
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            // Errors end this connection and are the two ends' business.
            if let Ok(mut far) = TcpStream::connect(to).await {
                let _ = near.set_nodelay(true);
                let _ = far.set_nodelay(true);
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
