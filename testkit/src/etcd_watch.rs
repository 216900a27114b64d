//! I/O: the values of one key of etcd as they are written, by `etcdctl watch`.

use anyhow::{Context, Result};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// A watch. Dropping it ends it.
#[derive(Debug)]
pub struct EtcdWatch {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl EtcdWatch {
    /// The present value comes first, if there is one: so nothing is missed, and the watch is known to work.
    pub(crate) async fn start(mut etcdctl: Command, key: &str) -> Result<EtcdWatch> {
        // Revision 1 is before all keys, unless it was compacted away.
        let mut child = etcdctl.args(["watch", "--rev=1", key]).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("etcdctl has an output")?;
        Ok(EtcdWatch { lines: BufReader::new(stdout).lines(), _child: child })
    }

    /// The next value, without line breaks in it; waits for it as long as it takes.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            let line = self.lines.next_line().await?.context("the watch has ended")?;
            if line == "PUT" {
                // Then the key.
                self.lines.next_line().await?;
                return self.lines.next_line().await?.context("the watch has ended");
            }
        }
    }
}
