//! I/O: finds what the tests need, installs what the system's package manager or cargo may install, and says clearly what
//! somebody has to install by hand.

use crate::steps::{node_tests, root, run, target};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names under which Chromium is installed; `CHROMIUM` names another one.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";
/// What Python packages the suites use: those of the example, published clients, and what checks deploy/.
const PYTHON_PACKAGES: [&str; 3] =
    ["clients/examples/python/requirements.txt", "clients/tests/requirements.txt", "deploy/tests/requirements.txt"];

/// etcd, Redis and PostgreSQL; and Node and Python packages, a browser, Redis's tools, and what a local cluster needs, if there are
/// JavaScript tests.
pub(crate) fn prepare() -> Result<(), String> {
    require("etcd", &["etcd"], "etcd-server")?;
    require("etcdctl", &["etcdctl"], "etcd-client")?;
    require("Redis", &["redis-server"], "redis-server")?;
    require_postgresql()?;
    if let Some(directory) = node_tests() {
        require("Node.js", &["node"], "nodejs")?;
        require("npm", &["npm"], "npm")?;
        // As the lock file says, and only if it changed since.
        let is_installed = directory.join("node_modules/.package-lock.json").exists();
        if !is_installed || is_newer(&directory.join("package-lock.json"), &directory.join("node_modules/.package-lock.json")) {
            run("npm", &["ci", "--no-audit", "--no-fund"], &directory)?;
        }
        match std::env::var("CHROMIUM") {
            Ok(path) => println!("Chromium: {path} (CHROMIUM)"),
            Err(_) => require("Chromium", &BROWSERS, "chromium")?,
        }
        prepare_python()?;
        // For deploy/local, and for what checks the rest of deploy/.
        for program in ["prometheus", "curl", "jq", "shellcheck", "docker-compose"] {
            require(program, &[program], program)?;
        }
        require("redis-cli", &["redis-cli"], "redis-tools")?;
        require("redis-benchmark", &["redis-benchmark"], "redis-tools")?;
    }
    Ok(())
}

/// PostgreSQL's server, which Debian keeps beside the PATH, by version.
fn require_postgresql() -> Result<(), String> {
    let found = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let places = versions.map(|version| version.path().join("bin/initdb")).filter(|file| file.is_file());
        on_path("initdb").or_else(|| places.max())
    };
    if found().is_none() {
        install("PostgreSQL", "postgresql")?;
    }
    match found() {
        Some(path) => {
            println!("PostgreSQL: {}", path.display());
            Ok(())
        }
        None => Err(missing("PostgreSQL", "postgresql")),
    }
}

/// The Python that the suites use, in an environment of its own.
pub(crate) fn python() -> PathBuf {
    target().join("tools/python/bin/python3")
}

/// Makes that environment and puts the packages into it, again if their lists have changed.
fn prepare_python() -> Result<(), String> {
    require("Python", &["python3"], "python3")?;
    let environment = target().join("tools/python");
    let installed = environment.join("installed.txt");
    let lists = PYTHON_PACKAGES.map(|list| root().join(list).display().to_string());
    let read = |file: &str| std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let wanted = lists.iter().map(|list| read(list)).collect::<Result<String, String>>()?;
    if std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let directory = environment.display().to_string();
    let create = || run("python3", &["-m", "venv", &directory], &root());
    if create().is_err() {
        // Debian keeps the module that makes environments in a package of its own.
        install("Python's venv", "python3-venv")?;
        create()?;
    }
    let requirements = lists.iter().flat_map(|list| ["--requirement", list]);
    let pip: Vec<&str> = ["-m", "pip", "install", "--quiet"].into_iter().chain(requirements).collect();
    run(&python().display().to_string(), &pip, &root())?;
    std::fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))
}

/// The path of cargo-deny: installed by somebody, or by us under target/.
pub(crate) fn cargo_deny() -> Result<String, String> {
    let own = target().join("tools/bin/cargo-deny");
    if let Some(found) = on_path("cargo-deny") {
        return Ok(found.display().to_string());
    }
    if !own.exists() {
        let tools = target().join("tools").display().to_string();
        println!("cargo-deny is not installed: building it once, which takes minutes");
        run("cargo", &["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root", &tools], &root())?;
    }
    Ok(own.display().to_string())
}

/// Finds one of `programs`, or installs `package` where we may.
fn require(what: &str, programs: &[&str], package: &str) -> Result<(), String> {
    let found = || programs.iter().find_map(|program| on_path(program));
    if found().is_none() {
        install(what, package)?;
    }
    match found() {
        Some(path) => {
            println!("{what}: {}", path.display());
            Ok(())
        }
        None => Err(missing(what, package)),
    }
}

/// Installs `package` where the system has a package manager that we know and may use.
fn install(what: &str, package: &str) -> Result<(), String> {
    if !is_root() || on_path("apt-get").is_none() {
        return Err(missing(what, package));
    }
    run("apt-get", &["update", "-qq"], &root())?;
    run("apt-get", &["install", "-y", "-qq", "--no-install-recommends", package], &root())
}

fn missing(what: &str, package: &str) -> String {
    format!("{what} is missing: install it ({package}, by your system's package manager)")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn is_newer(first: &Path, second: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    modified(first) > modified(second)
}
