//! Both ends of a connection played byte by byte: a backend and a client that follow no protocol.

use super::program::Program;
use super::within;
use socket2::{Domain, SockRef, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A backend whose connections the test plays itself.
pub struct RawBackend {
    listener: TcpListener,
}

/// One end of a connection.
pub struct RawStream {
    stream: TcpStream,
}

/// An address that answers no attempt to connect, like that of a host without power: a listener whose queue is full.
pub struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _queued: Vec<TcpStream>,
}

/// How a peer ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With FIN.
    Closed,
    /// With RST.
    Reset,
}

impl RawBackend {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    /// Returns the address as `[backend] url` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("bound"))
    }

    /// Accepts the next connection.
    pub async fn accept(&self) -> RawStream {
        let (stream, _) =
            within("a connection to the backend", self.listener.accept()).await.expect("accept");
        stream.set_nodelay(true).expect("no delay");
        RawStream { stream }
    }

    /// Accepts the next connection and reads the head of its first request.
    pub async fn accept_head(&self) -> (RawStream, String) {
        let mut stream = self.accept().await;
        let head = stream.head().await;
        (stream, head)
    }
}

impl BlackHole {
    /// Takes a free port and fills its queue.
    pub async fn open() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
        let mut queued = vec![];
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
        {
            queued.push(stream.expect("a place in the queue"));
        }
        Self { address, _listener: listener, _queued: queued }
    }

    /// Returns the address as `[backend] url` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl RawStream {
    /// Connects to the program.
    pub async fn connect(program: &Program) -> Self {
        Self::connect_with_buffer(program, None).await
    }

    /// Connects to the program with a receive buffer of so many bytes.
    pub async fn connect_with_buffer(program: &Program, receive: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = receive {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
        }
        let address = program.proxy().text().parse().expect("a TCP address");
        let stream = within("a connection to the program", socket.connect(address)).await.expect("connect");
        stream.set_nodelay(true).expect("no delay");
        Self { stream }
    }

    /// Sends bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within("the peer to read", self.stream.write_all(bytes.as_ref())).await.expect("an open connection");
    }

    /// Sends bytes until the peer takes no more, and returns how many it took.
    pub async fn fill(&mut self, most: usize) -> usize {
        let (block, mut sent) = (vec![b'd'; 64 * 1024], 0);
        while sent < most {
            let part = &block[..block.len().min(most - sent)];
            match tokio::time::timeout(Duration::from_millis(500), self.stream.write(part)).await {
                Ok(n) => sent += n.expect("an open connection"),
                Err(_) => break,
            }
        }
        sent
    }

    /// Reads a head with its blank line, and nothing beyond it. The text is Latin-1, which loses no byte.
    pub async fn head(&mut self) -> String {
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let byte = within("a whole head", self.stream.read_u8()).await;
            head.push(byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&head))));
        }
        head.iter().map(|&byte| char::from(byte)).collect()
    }

    /// Reads a head, or what comes before the end of the connection.
    pub async fn first_head(&mut self) -> String {
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = within("a head, or the end", self.stream.read_u8()).await else { break };
            head.push(byte);
        }
        head.iter().map(|&byte| char::from(byte)).collect()
    }

    /// Reads so many bytes.
    pub async fn exact(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        within(format!("{n} bytes"), self.stream.read_exact(&mut bytes)).await.expect("so many bytes");
        bytes
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = vec![];
        match within("the end of the connection", self.stream.read_to_end(&mut bytes)).await {
            Ok(_) => (bytes, End::Closed),
            Err(_) => (bytes, End::Reset),
        }
    }

    /// Returns whether nothing comes within this time.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stream.read_u8()).await.is_err()
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        // A peer that has closed needs no end.
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}
