//! One-shot clients: connect, ask once, count who answered or what went wrong.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use super::{Protocol, error_word};

/// Asks `count` times, each time anew, and counts the answers: `<server> <address it saw>` or the error's word.
///
/// `to` is an address or a name with a port. A name is resolved for every question, as a client of a Service does.
pub fn ask(to: &str, protocol: Protocol, count: u32, timeout: Duration) -> BTreeMap<String, u32> {
    let mut answers = BTreeMap::new();
    for number in 0..count {
        let question = format!("q{number}");
        let answer = resolve(to).and_then(|to| match protocol {
            Protocol::Tcp => tcp(to, &question, timeout),
            Protocol::Udp => udp(to, &question, timeout),
        });
        let text = answer.unwrap_or_else(|error| error_word(&error));
        *answers.entry(text).or_default() += 1;
    }
    answers
}

fn resolve(to: &str) -> io::Result<SocketAddr> {
    let mut found = to.to_socket_addrs()?;
    found
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a name without addresses"))
}

fn tcp(to: SocketAddr, question: &str, timeout: Duration) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    (&stream).write_all(format!("{question}\n").as_bytes())?;
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    strip(&line, question)
}

fn udp(to: SocketAddr, question: &str, timeout: Duration) -> io::Result<String> {
    let any: SocketAddr = if to.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(question.as_bytes())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    strip(&String::from_utf8_lossy(&buffer[..length]), question)
}

/// The answer without the question it repeats, which proves that it is this question's.
fn strip(line: &str, question: &str) -> io::Result<String> {
    let answer = line.trim_end().strip_suffix(question).map(str::trim_end);
    answer
        .map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
}
