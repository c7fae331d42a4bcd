//! Servers that say who they are and whom they see: each line gets `<name> <client's address> <line>`. After a line
//! `push <ms>` the connection is a download: such answers come by themselves, one every so many ms. What begins as an HTTP
//! request is answered as one, so that kubelet's probes and curl have something to ask.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Start of the line that asks for a download.
pub const PUSH: &str = "push ";

/// Serves until the process ends. A port that can't be had is an error at once.
pub fn serve(name: &str, tcp: &[u16], udp: &[u16]) -> io::Result<()> {
    let mut threads = Vec::new();
    for port in tcp {
        // `::` takes IPv4 too, as mapped addresses.
        let listener = TcpListener::bind(("::", *port))?;
        let name = name.to_owned();
        threads.push(thread::spawn(move || accept(&listener, &name)));
    }
    for port in udp {
        let socket = UdpSocket::bind(("::", *port))?;
        let name = name.to_owned();
        threads.push(thread::spawn(move || datagrams(&socket, &name)));
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a server thread panicked"))?;
    }
    Ok(())
}

fn accept(listener: &TcpListener, name: &str) {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let name = name.to_owned();
                thread::spawn(move || echo(&stream, peer, &name));
            }
            // Out of descriptors or a peer that vanished: the next one may fare better.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn echo(stream: &TcpStream, peer: SocketAddr, name: &str) {
    let _ = stream.set_nodelay(true);
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        if line.starts_with("GET ") && line.contains(" HTTP/1.") {
            let body = answer(name, peer.ip(), &line);
            let _ = write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            return;
        }
        if let Some(interval) = line.strip_prefix(PUSH).and_then(|ms| ms.parse().ok()) {
            push(stream, peer, name, Duration::from_millis(interval));
            return;
        }
        if writer
            .write_all(answer(name, peer.ip(), &line).as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn push(mut stream: &TcpStream, peer: SocketAddr, name: &str, interval: Duration) {
    for number in 0u64.. {
        let line = answer(name, peer.ip(), &number.to_string());
        if stream.write_all(line.as_bytes()).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

fn datagrams(socket: &UdpSocket, name: &str) {
    let mut buffer = [0; 2048];
    loop {
        // An error here is the ICMP answer to an earlier reply and says nothing of the next datagram.
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            let _ = socket.send_to(answer(name, peer.ip(), line.trim_end()).as_bytes(), peer);
        }
    }
}

fn answer(name: &str, client: IpAddr, line: &str) -> String {
    format!("{name} {} {line}\n", client.to_canonical())
}
