//! I/O: the smallest Redis client that adds to counters.

use core::net::SocketAddr;
use std::{
    fmt::Write,
    io::{Error, ErrorKind},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// The reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A number.
    Integer(i64),
    /// Without the `-`.
    Error(String),
}

/// A connection to the server that was asked last, if there is one.
#[derive(Debug, Default)]
pub struct Resp(Option<(SocketAddr, BufReader<TcpStream>)>);

impl Resp {
    /// Sends a command whose reply is a number or an error, and waits for it. After an error the connection is gone.
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
        let mut line = String::new();
        while replies.len() < commands.len() {
            line.clear();
            stream.read_line(&mut line).await?;
            let reply = line.trim_end();
            replies.push(match (reply.strip_prefix(':').map(str::parse), reply.strip_prefix('-')) {
                (Some(Ok(number)), _) => Reply::Integer(number),
                (_, Some(reason)) => Reply::Error(reason.to_owned()),
                _ => return Err(Error::new(ErrorKind::InvalidData, format!("neither a number nor an error: {line:?}"))),
            });
        }
        self.0 = Some((address, stream));
        Ok(replies)
    }
}
