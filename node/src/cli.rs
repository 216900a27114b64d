//! I/O: arguments in, exit code out.

use crate::{
    clock,
    config::{Config, layers, secret::Secret},
    counter_commands::{self, CounterCommand},
    demo::{self, DemoCommand},
    doctor::{self, DoctorCommand},
    etcd,
    failpoints::Failpoints,
    failure::{EXIT_CODES, Failure},
    flood::Flood,
    listeners::Listeners,
    plan_command::{self, PlanCommand},
    probe::{self, ProbeCommand},
    reload::Process,
    ring_commands::{self, RingCommand},
    signals, telemetry, token,
    traces::{self, Sample},
    wiring,
};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use prometheus::Registry;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

const EXAMPLES: &str = "\
Examples:
  headcount                                       serve on this machine, in development mode
  headcount --config headcount.toml               serve what the file says
  HEADCOUNT_LISTEN__CLIENT=127.0.0.1:8080 headcount
                                                  any key as a variable
  headcount config print --defaults               every key, with its meaning
  headcount --config headcount.toml config check  find all mistakes without starting
  headcount token gen --user alice --ttl 1h --config headcount.toml
                                                  a connection token for alice
  headcount counter verify --data-dir backup      whether a node would start from this copy
  headcount ring drain redis-b --dry-run          what moves when all channels leave a Redis node
  headcount doctor --config headcount.toml        what is wrong with this host, its disks and neighbours, and what to do
  headcount probe --url http://127.0.0.1:8000 --once
                                                  whether a customer can do what customers do
  headcount plan --help                           how many machines a load needs
  headcount demo                                  three regions in this process, and a page that cuts the links between them";

/// Who's here, and how many: presence, messages and counters, live.
#[derive(Debug, Parser)]
#[command(name = "headcount", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    /// Configuration as TOML; what it leaves out has its default.
    #[arg(long, global = true, value_name = "FILE", env = "HEADCOUNT_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until a signal (this is what `headcount` alone does).
    ///
    /// SIGTERM or SIGINT: send the clients elsewhere and end; a second one ends at once. SIGHUP: read the configuration file again,
    /// change what may change while it runs (in `config print --defaults` such keys say SIGHUP), and tell in one line of the log what
    /// has changed and what needs a restart; a bad file is refused as a whole, and everything goes on as before.
    Serve,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look at a node's counters, move them, or give up a lost node.
    #[command(subcommand)]
    Counter(CounterCommand),
    /// Look at the ring of Redis nodes, plan changes of it, and ask the coordinator for them.
    #[command(subcommand)]
    Ring(RingCommand),
    /// Tell how many machines a load needs, what each figure comes from, and what breaks first when it grows.
    ///
    /// The figures come from the reports in benches/reports; docs/capacity.md explains them. How much of CPU, memory and network is
    /// planned for, and how many nodes may be dead, stands in the output under Policy. Nothing is connected to. Exit code 64 if the
    /// load makes no sense, or no region can be built for it.
    Plan(Box<PlanCommand>),
    /// Look at everything that will hurt some day: this host, the data directory, addresses, etcd, Redis nodes, other nodes,
    /// certificates, clocks. Says of each what was found, and what to do about it.
    ///
    /// Nothing is written but one file in node.data_dir, which is gone afterwards. Whatever is asked has two seconds to answer.
    /// A node may run meanwhile. Exit code 1 if something fails; warnings do not count.
    Doctor(DoctorCommand),
    /// Be a customer: connect, subscribe, be seen, publish and hear it, like and read it, here and elsewhere, again and again.
    ///
    /// It knows nothing but the client protocol, and needs the rights of a client that may do all that. Each step has a deadline
    /// and its own metrics (node/METRICS.md). Clients say goodbye after each round, so no roster keeps them. For TLS the
    /// authorities of this host are believed, or those in the file that SSL_CERT_FILE names.
    Probe(Box<ProbeCommand>),
    /// Try out several regions: all of them in this process, with links between them that a page cuts, delays and makes lossy.
    ///
    /// Each region is a node as `headcount` serves it, with a port for clients, one for Redis clients and one for operators, on
    /// this machine only. Where they are is printed, and what to try. Nothing else is needed, and nothing is left behind. The
    /// configuration is the demo's own: of `--config` and of variables only HEADCOUNT_LOG__LEVEL and HEADCOUNT_LOG__FORMAT count.
    Demo(DemoCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell every mistake of the configuration, or `ok`.
    Check,
    /// Print the configuration in force as TOML, secrets as ***.
    Print {
        /// Print the commented default file instead: every key there is.
        #[arg(long)]
        defaults: bool,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a token (HS256), and nothing else.
    Gen(TokenArgs),
}

#[derive(Args, Debug)]
struct TokenArgs {
    /// The user's id; empty for an anonymous one.
    #[arg(long)]
    user: String,
    /// Make a subscription token for this channel.
    #[arg(long)]
    channel: Option<String>,
    /// How long the token is valid: 90s, 15m, 1h, 7d.
    #[arg(long, default_value = "1h", value_parser = token::parse_ttl)]
    ttl: u64,
    /// What others see of the user, as JSON.
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<serde_json::Value>(text))]
    info: Option<serde_json::Value>,
    /// Sign with this secret instead of the first of auth.hmac_secrets.
    #[arg(long, value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Secret::new(text.to_owned())))]
    secret: Option<Secret>,
}

/// Runs the program on the arguments and environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "headcount: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = || load(cli.config.as_deref());
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(config()?, cli.config),
        Command::Config(ConfigCommand::Check) => {
            let config = config()?;
            open(&config)?;
            config.warnings.iter().try_for_each(|warning| print(&format!("warning: {warning}")))?;
            print("ok")
        }
        Command::Config(ConfigCommand::Print { defaults: true }) => print(layers::DEFAULT_FILE.trim_end()),
        Command::Config(ConfigCommand::Print { defaults: false }) => {
            print(toml::to_string_pretty(&config()?.effective).context("printing the configuration")?.trim_end())
        }
        Command::Token(TokenCommand::Gen(args)) => print(&generate_token(args, &config()?)?),
        Command::Counter(command) => counter_commands::run(command, &config()?),
        Command::Ring(command) => ring_commands::run(command, &config()?),
        Command::Plan(command) => plan_command::run(&command),
        Command::Probe(command) => probe::run(*command),
        Command::Doctor(command) => doctor::run(&command, config()),
        Command::Demo(command) => demo::run(&command, &variables()?),
    }
}

fn serve(config: Config, path: Option<PathBuf>) -> Result<(), Failure> {
    let (tracer, traces) = traces::prepare(&config.traces).context("preparing traces")?.unzip();
    let flood = Flood::new(config.log.lines_per_event).context("preparing the log")?;
    let level = telemetry::init(&config.log, Some(flood.clone()), tracer);
    let sample = Arc::new(Sample::new(config.traces.sample));
    // One provider for every use of TLS, before the first; it fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let load = move || {
        let config = load(path.as_deref())?;
        open(&config)?;
        Ok(config)
    };
    runtime.block_on(async {
        let hangups = signals::hangups().context("catching SIGHUP")?;
        let failpoints = Failpoints::of_environment()?;
        let process = Process { load: Arc::new(load), hangups, level, flood, sample, traces, failpoints };
        wiring::run(config, Some(process), Listeners::bind).await
    })
}

fn load(path: Option<&Path>) -> Result<Config, Failure> {
    let read = |path: &Path| {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("cannot read --config {}: {error}", path.display())));
        text.map(|text| (path.display().to_string(), text))
    };
    let file = path.map(read).transpose()?;
    Ok(Config::load(file.as_ref().map(|(path, text)| (path.as_str(), text.as_str())), &variables()?)?)
}

/// Reads the files that the configuration names, and checks them.
fn open(config: &Config) -> Result<(), Failure> {
    config.tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path))).transpose()?;
    config.client_tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path))).transpose()?;
    etcd::open(config, &Registry::new())?;
    Ok(())
}

/// What the environment says of the configuration.
fn variables() -> Result<Vec<(String, String)>, Failure> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(layers::ENV_PREFIX)) else { continue };
        let value = value.into_string().map_err(|_| Failure::Usage(format!("{name}: is not UTF-8")))?;
        env.push((name.to_owned(), value));
    }
    env.sort();
    Ok(env)
}

fn generate_token(args: TokenArgs, config: &Config) -> Result<String, Failure> {
    let secret = args.secret.or_else(|| config.auth.hmac_secrets.first().cloned());
    let secret = secret
        .ok_or_else(|| Failure::Usage("no secret to sign with: give --secret, or a --config whose auth.hmac_secrets has one".to_owned()))?;
    let claims = token::Claims {
        user: args.user,
        channel: args.channel,
        info: args.info,
        ttl_s: args.ttl,
        audience: config.auth.audience.clone(),
        issuer: config.auth.issuer.clone(),
    };
    token::sign(&claims, &secret, clock::now()).map_err(|error| Failure::Usage(error.to_string()))
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(Failure::Output)
}
