//! I/O: servers in JavaScript, each with a package of npm, which is installed where cargo builds: exactly the locked versions.

use anyhow::{Context, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// A server and what it needs.
pub(super) struct Package {
    directory: &'static str,
    /// The package that it shows.
    name: &'static str,
    files: [(&'static str, &'static str); 3],
}

macro_rules! package {
    ($directory:literal, $name:literal) => {
        Package {
            directory: $directory,
            name: $name,
            files: [
                ("package.json", include_str!(concat!("../../peers/", $directory, "/package.json"))),
                ("package-lock.json", include_str!(concat!("../../peers/", $directory, "/package-lock.json"))),
                ("server.js", include_str!(concat!("../../peers/", $directory, "/server.js"))),
            ],
        }
    };
}

pub(super) const WS: Package = package!("ws", "ws");
pub(super) const SOCKET_IO: Package = package!("socketio", "socket.io");

/// Installs it below `packages`, unless it is there. Returns what it is, with its version.
pub(super) async fn install(package: &Package, packages: &Path) -> anyhow::Result<String> {
    let directory = packages.join(package.directory);
    let node = Command::new("node").arg("--version").stdin(Stdio::null()).output().await;
    let node = node.context("node is missing: install Node.js 20 or newer, with npm")?;
    if !is_there(package, &directory) {
        fs::create_dir_all(&directory)?;
        for (name, text) in package.files {
            fs::write(directory.join(name), text)?;
        }
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(&directory).stdin(Stdio::null()).kill_on_drop(true);
        let output = npm.output().await.context("npm is missing: install Node.js 20 or newer, with npm")?;
        let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "`npm {}` in {}: {}", arguments.join(" "), directory.display(), why());
    }
    let [(_, manifest), ..] = package.files;
    let manifest: serde_json::Value = serde_json::from_str(manifest)?;
    let version = manifest["dependencies"][package.name].as_str().context("no such dependency")?;
    Ok(format!("{} {version}, Node.js {}", package.name, String::from_utf8_lossy(&node.stdout).trim()))
}

/// Whether it was installed with these files.
fn is_there(package: &Package, directory: &Path) -> bool {
    let same = |(name, text): &(&str, &str)| fs::read_to_string(directory.join(name)).is_ok_and(|found| found == *text);
    // Written by npm when all is in place.
    package.files.iter().all(same) && directory.join("node_modules/.package-lock.json").is_file()
}

/// The server's command, which says where it listens.
pub(super) fn command(package: &Package, packages: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg("server.js").current_dir(PathBuf::from(packages).join(package.directory));
    command
}
