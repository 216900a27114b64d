//! I/O: a small disk of its own for a node, which a test can fill up: a tmpfs in a mount namespace of its own, so that nothing
//! is left behind whatever happens to the test.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// What fills the disk up.
const FILLER: &str = "filler";
/// Bytes written at once to fill it up.
const FILL_BYTES: usize = 64 * 1024;

/// A mounted tmpfs. Its namespace is kept by a process that waits for the end of ours, so that it outlives the nodes in it.
#[derive(Debug)]
pub struct SmallDisk {
    keeper: Child,
    directory: PathBuf,
    _mount_point: TempDir,
    is_root: bool,
}

impl SmallDisk {
    /// Mounts one of so many bytes.
    pub async fn mount(bytes: u64) -> Result<SmallDisk> {
        let mount_point = tempfile::tempdir()?;
        let id = Command::new("id").arg("-u").output().await?;
        let is_root = id.stdout.trim_ascii() == b"0";
        let mut command = Command::new("unshare");
        if !is_root {
            // Whoever may not mount may do so in a namespace where it is root.
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" && mkdir \"$2\"/data && echo mounted && exec cat";
        command.args(["--mount", "sh", "-c", script, "sh", &bytes.to_string()]).arg(mount_point.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut keeper = command.spawn().context("unshare, of util-linux, is needed for a disk of its own")?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().context("its stdout")?).read_line(&mut line).await?;
        if line != "mounted\n" {
            bail!("a tmpfs could not be mounted in a namespace of its own; its own words are above");
        }
        Ok(SmallDisk { keeper, directory: mount_point.path().join("data"), _mount_point: mount_point, is_root })
    }

    /// The directory on it for the node, as the node sees it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The same directory, as this process sees it.
    #[must_use]
    pub fn seen_from_outside(&self) -> PathBuf {
        let pid = self.keeper.id().expect("the namespace is kept");
        let inside = self.path();
        Path::new("/proc").join(pid.to_string()).join("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// The command that runs a program where the disk is.
    #[must_use]
    pub fn run(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.keeper.id().expect("the namespace is kept").to_string());
        if !self.is_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--"]).arg(program);
        command
    }

    /// Leaves no byte free.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        let mut size = FILL_BYTES;
        while size > 0 {
            match filler.write(&vec![b'x'; size]) {
                Ok(_) => {}
                // The last pages may still be had by a smaller write.
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.seen_from_outside().with_file_name(FILLER)
    }
}
