//! As much of HTTP as it takes to press a button of the web example.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 404…
    pub status: u16,
    /// The lines before the body.
    pub head: String,
    /// The rest.
    pub body: String,
}

/// Sends `METHOD path` to `address` (`127.0.0.1:3000`), without a body.
///
/// # Errors
///
/// When the connection fails, or the answer is not HTTP.
pub async fn request(address: &str, method: &str, path: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Response { status, head: head.to_owned(), body: body.to_owned() })
}
