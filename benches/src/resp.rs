//! I/O: one connection of a Redis client.

use anyhow::{Context, bail, ensure};
use core::net::SocketAddr;
use std::{fmt::Write, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, kept alive; commands go out as they are given.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), line: Vec::new() })
    }

    /// The text of the reply, which is an integer, a string or nothing; an error reply is an error.
    pub(crate) async fn call(&mut self, words: &[&str]) -> anyhow::Result<Option<String>> {
        self.ask(words).await?;
        timeout(PATIENCE, self.reply()).await.with_context(|| format!("no answer to {words:?} within {PATIENCE:?}"))?
    }

    /// The values of counters, by one question; of one that is not there, 0.
    pub(crate) async fn values(&mut self, keys: &[&str]) -> anyhow::Result<Vec<i64>> {
        self.ask(&[&["MGET"], keys].concat()).await?;
        let values = async {
            ensure!(self.line().await? == format!("*{}", keys.len()).as_bytes(), "no values: {}", String::from_utf8_lossy(&self.line));
            let mut values = Vec::with_capacity(keys.len());
            for _ in keys {
                values.push(self.reply().await?.map_or(Ok(0), |text| text.parse())?);
            }
            Ok(values)
        };
        timeout(PATIENCE, values).await.with_context(|| format!("no values within {PATIENCE:?}"))?
    }

    async fn ask(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            write!(command, "${}\r\n{word}\r\n", word.len())?;
        }
        Ok(self.stream.write_all(command.as_bytes()).await?)
    }

    /// As [`Connection::call`], for a reply that is a number; nothing is 0.
    pub(crate) async fn number(&mut self, words: &[&str]) -> anyhow::Result<i64> {
        match self.call(words).await? {
            Some(text) => text.parse().with_context(|| format!("{words:?}: {text}")),
            None => Ok(0),
        }
    }

    /// Adds 1 to each of `keys`, in one write; returns when all are acknowledged.
    pub(crate) async fn add_each(&mut self, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let (mut commands, mut count) = (String::new(), 0);
        for key in keys {
            write!(commands, "*3\r\n$6\r\nINCRBY\r\n${}\r\n{key}\r\n$1\r\n1\r\n", key.len())?;
            count += 1;
        }
        self.stream.write_all(commands.as_bytes()).await?;
        let replies = async {
            for _ in 0..count {
                ensure!(self.line().await?.starts_with(b":"), "not counted: {}", String::from_utf8_lossy(&self.line));
            }
            Ok(())
        };
        timeout(PATIENCE, replies).await.with_context(|| format!("{count} additions were not answered within {PATIENCE:?}"))?
    }

    async fn reply(&mut self) -> anyhow::Result<Option<String>> {
        let line = String::from_utf8(self.line().await?.to_vec())?;
        let (kind, rest) = line.split_at_checked(1).context("an empty reply")?;
        match kind {
            ":" | "+" => Ok(Some(rest.to_owned())),
            "$" if rest == "-1" => Ok(None),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut text).await?;
                text.truncate(text.len() - 2);
                Ok(Some(String::from_utf8(text)?))
            }
            _ => bail!("refused: {line}"),
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> anyhow::Result<&[u8]> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line).await?;
        self.line.strip_suffix(b"\r\n").context("closed by the server")
    }
}
