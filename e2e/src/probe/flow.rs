//! One long-lived flow that asks again and again, and a line on standard output for each question.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{Protocol, error_word, server};

/// Keeps one TCP connection or one UDP socket for `length` and asks every `interval`; an answer that
/// takes longer than `patience` is lost. Each line is `<ms since start> + <server>` or `<ms since start> - <why>`.
///
/// A TCP connection that fails for good is not made again: that is what a user of it would have lost.
pub fn keep(
    to: SocketAddr,
    protocol: Protocol,
    interval: Duration,
    patience: Duration,
    length: Duration,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut flow = Conversation::open(to, protocol, patience);
    let start = Instant::now();
    for number in 0u32.. {
        let due = start + interval * number;
        if due > start + length {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = start.elapsed().as_millis();
        if protocol == Protocol::Udp && flow.is_err() {
            // There was no route yet: unlike a connection, a datagram socket has nothing to lose.
            flow = Conversation::open(to, protocol, patience);
        }
        let answer = match &mut flow {
            Ok(conversation) => conversation.ask(&format!("q{number}"), patience),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match answer {
            Ok(server) => writeln!(out, "{asked} + {server}")?,
            Err(error) => writeln!(out, "{asked} - {}", error_word(&error))?,
        }
        out.flush()?;
    }
    Ok(())
}

/// Keeps one TCP connection on which only the server sends, every `interval`, and writes a line for each time: `+` if
/// something came within `patience`.
pub fn download(
    from: SocketAddr,
    interval: Duration,
    patience: Duration,
    length: Duration,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&from, Duration::from_secs(3))?;
    stream.write_all(format!("{}{}\n", server::PUSH, interval.as_millis()).as_bytes())?;
    stream.set_read_timeout(Some(patience))?;
    let mut reader = BufReader::new(stream);
    let start = Instant::now();
    let mut line = String::new();
    while start.elapsed() < length {
        let asked = start.elapsed().as_millis();
        match reader.read_line(&mut line) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                let server = line.split_whitespace().next().unwrap_or_default();
                writeln!(out, "{asked} + {server}")?;
                line.clear();
            }
            // What has come of a line stays for its rest.
            Err(error) => writeln!(out, "{asked} - {}", error_word(&error))?,
        }
        out.flush()?;
    }
    Ok(())
}

enum Conversation {
    Tcp {
        stream: TcpStream,
        reader: BufReader<TcpStream>,
        partial: String,
    },
    Udp(UdpSocket),
}

impl Conversation {
    fn open(to: SocketAddr, protocol: Protocol, patience: Duration) -> io::Result<Self> {
        Ok(match protocol {
            Protocol::Tcp => {
                let stream = TcpStream::connect_timeout(&to, patience.max(Duration::from_secs(3)))?;
                stream.set_nodelay(true)?;
                Self::Tcp {
                    reader: BufReader::new(stream.try_clone()?),
                    stream,
                    partial: String::new(),
                }
            }
            Protocol::Udp => {
                let any: SocketAddr = if to.is_ipv4() {
                    (Ipv4Addr::UNSPECIFIED, 0).into()
                } else {
                    (Ipv6Addr::UNSPECIFIED, 0).into()
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(to)?;
                Self::Udp(socket)
            }
        })
    }

    /// Asks and waits for this question's own answer; late answers to earlier questions are passed over.
    fn ask(&mut self, question: &str, patience: Duration) -> io::Result<String> {
        let deadline = Instant::now() + patience;
        match self {
            Self::Tcp { stream, .. } => stream.write_all(format!("{question}\n").as_bytes())?,
            Self::Udp(socket) => drop(socket.send(question.as_bytes())?),
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let line = match self {
                Self::Tcp {
                    stream,
                    reader,
                    partial,
                } => {
                    stream.set_read_timeout(Some(left))?;
                    if reader.read_line(partial)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    std::mem::take(partial)
                }
                Self::Udp(socket) => {
                    socket.set_read_timeout(Some(left))?;
                    let mut buffer = [0; 2048];
                    let length = socket.recv(&mut buffer)?;
                    String::from_utf8_lossy(&buffer[..length]).into_owned()
                }
            };
            let mut words = line.split_whitespace();
            let server = words.next().unwrap_or_default().to_owned();
            if words.next_back() == Some(question) {
                return Ok(server);
            }
        }
    }
}
