//! I/O: the smallest Redis client.

use core::net::SocketAddr;
use std::{
    fmt::Write,
    io::{Error, ErrorKind},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// The reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A number.
    Integer(i64),
    /// A status, or bytes that are text.
    Text(String),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Reply>),
    /// Without the `-`.
    Error(String),
}

/// A connection to the server that was asked last, if there is one.
#[derive(Debug, Default)]
pub struct Resp(Option<(SocketAddr, BufReader<TcpStream>)>);

impl Resp {
    /// Sends a command and waits for its reply. After an error the connection is gone.
    pub async fn command(&mut self, address: SocketAddr, words: &[&str]) -> std::io::Result<Reply> {
        let mut replies = self.pipeline(address, &[words.to_vec()]).await?;
        replies.pop().ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Sends several such commands at once, and waits for all replies.
    pub async fn pipeline(&mut self, address: SocketAddr, commands: &[Vec<&str>]) -> std::io::Result<Vec<Reply>> {
        // Put back once all is read.
        let mut stream = match self.0.take().filter(|(known, _)| *known == address) {
            Some((_, stream)) => stream,
            None => BufReader::new(TcpStream::connect(address).await?),
        };
        let mut text = String::new();
        for words in commands {
            _ = write!(text, "*{}\r\n", words.len());
            words.iter().for_each(|word| _ = write!(text, "${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(text.as_bytes()).await?;
        let mut replies = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            replies.push(read(&mut stream).await?);
        }
        self.0 = Some((address, stream));
        Ok(replies)
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let bad = || Error::new(ErrorKind::InvalidData, format!("no reply: {line:?}"));
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(bad)?;
    let number = rest.parse::<i64>();
    Ok(match (kind, number) {
        ("-", _) => Reply::Error(rest.to_owned()),
        ("+", _) => Reply::Text(rest.to_owned()),
        (":", Ok(number)) => Reply::Integer(number),
        ("$" | "*", Ok(-1)) => Reply::Nil,
        ("$", Ok(length)) => {
            let mut bytes = vec![0; usize::try_from(length).map_err(|_| bad())? + 2];
            stream.read_exact(&mut bytes).await?;
            bytes.truncate(bytes.len() - 2);
            Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        ("*", Ok(length)) => {
            let mut replies = Vec::new();
            for _ in 0..length {
                replies.push(Box::pin(read(stream)).await?);
            }
            Reply::List(replies)
        }
        _ => return Err(bad()),
    })
}
