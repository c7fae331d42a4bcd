//! `contiv-e2e`: clusters for people and for tests, in network namespaces of this machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::cluster::Cluster;
use e2e::{bench, bench_services, conformance, demo, images, k8s, relay, run, suite, vpp};

/// Clusters in network namespaces: a real kube-apiserver, the operator, and nodes with real packets.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what users of a cluster see, told step by step.
    Demo {
        #[command(flatten)]
        shape: Shape,
        /// Leaves the cluster running and prints how to use it.
        #[arg(long)]
        keep: bool,
    },
    /// Starts a cluster without pods, until Ctrl-C.
    Up {
        /// How many nodes, at most 9.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
        /// Leaves the cluster running instead; `clean` ends it.
        #[arg(long)]
        keep: bool,
    },
    /// A whole Kubernetes on this machine: control plane, kubelets, containerd, and our network on them.
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
    },
    /// Measures CNI latency: our plugin beside bridge + host-local.
    BenchCni,
    /// Measures many Services with a real API server: cold start, what one changed endpoint costs, memory.
    BenchServices(#[command(flatten)] bench_services::Size),
    /// Runs Kubernetes' own end-to-end tests, from a program that you have, against a running cluster.
    Conformance(#[command(flatten)] conformance::Options),
    /// Makes container images of what was built, one archive each (`ctr images import`, `docker load` take them).
    Images {
        /// Where to.
        dir: PathBuf,
        /// Registry and path before the images' names.
        #[arg(long, default_value = images::REGISTRY)]
        registry: String,
        /// Version of the images.
        #[arg(long, default_value = images::TAG)]
        tag: String,
        /// Makes an image `vpp` as well, of this VPP (its program, installed with its plugins).
        #[arg(long)]
        vpp: Option<PathBuf>,
        /// Only the image of this name; may be repeated.
        #[arg(long)]
        only: Vec<String>,
    },
    /// Takes down what earlier runs left behind or kept; runs in progress are left alone.
    Clean,
    /// Looks into a dataplane: runs a debug command, or without one prints all that it holds.
    Vpp {
        /// Its API socket.
        #[arg(long, default_value = "/run/vpp/api.sock")]
        socket: PathBuf,
        /// Such as `show interface`.
        command: Vec<String>,
    },
    /// Waits on standard input for its owner's end, then takes the run down.
    #[command(hide = true)]
    Watchdog { dir: PathBuf },
    /// First process of a cluster's node.
    #[command(hide = true)]
    NodeInit { config: PathBuf },
    /// Relays TCP connections between network namespaces.
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        netns: PathBuf,
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
        #[arg(long)]
        to: SocketAddr,
    },
}

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Starts a cluster and leaves it running; prints the KUBECONFIG to use.
    Up(Shape),
    /// Takes it down and leaves nothing behind.
    Down,
}

/// How a cluster is to be.
#[derive(Debug, clap::Args)]
struct Shape {
    /// How many nodes, at most 9.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Port of 127.0.0.1 for the API server; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A VPP binary that runs on every node in place of vpp-sim.
    #[arg(long)]
    vpp: Option<PathBuf>,
}

impl Shape {
    fn options(&self) -> k8s::cluster::Options {
        k8s::cluster::Options {
            port: self.port,
            vpp: self.vpp.clone(),
        }
    }
}

fn main() -> ExitCode {
    run_command(Options::parse().command).unwrap_or_else(|error| {
        // People read this: the sentence, without the backtrace that a debugging environment would add.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo { shape, keep } => runtime()?.block_on(until_interrupted(async {
            Ok(exit_code(demo::demo(shape.nodes, &shape.options(), keep).await?))
        })),
        Command::BenchCni => runtime()?.block_on(until_interrupted(async {
            bench::bench_cni().await?;
            Ok(ExitCode::SUCCESS)
        })),
        Command::BenchServices(size) => runtime()?.block_on(until_interrupted(async {
            bench_services::bench_services(size).await?;
            Ok(ExitCode::SUCCESS)
        })),
        Command::Up { nodes, keep } => runtime()?.block_on(until_interrupted(up(nodes, keep))),
        Command::Conformance(options) => Ok(exit_code(conformance::run(&options)?)),
        Command::Images {
            dir,
            registry,
            tag,
            vpp,
            only,
        } => {
            let settings = images::Settings {
                registry,
                tag,
                vpp,
                only,
            };
            for path in images::build_as(&dir, &settings)? {
                let size = path.metadata()?.len() >> 20;
                writeln!(std::io::stdout(), "{} ({size} MiB)", path.display())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Cluster { action } => cluster_command(action),
        Command::Clean => {
            let (removed, left) = run::clean();
            let mut out = std::io::stdout();
            writeln!(out, "{removed}")?;
            if !left.is_empty() {
                writeln!(out, "still in progress and left alone: {}", left.join(", "))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Vpp { socket, command } => {
            runtime()?.block_on(look(&socket, &command.join(" ")))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Watchdog { dir } => {
            run::watchdog(&dir);
            Ok(ExitCode::SUCCESS)
        }
        Command::NodeInit { config } => {
            k8s::init::main(&config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay { netns, listen, to } => {
            runtime()?.block_on(relay::relay(&netns, &listen, to))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn cluster_command(action: ClusterAction) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    match action {
        ClusterAction::Up(shape) => runtime()?.block_on(until_interrupted(async {
            let started = Instant::now();
            let say = |text: &str| {
                let _ = writeln!(
                    std::io::stdout(),
                    "{:5.1} s  {text}",
                    started.elapsed().as_secs_f32()
                );
            };
            let kubeconfig = k8s::cluster::up(shape.nodes, &shape.options(), say).await?;
            writeln!(out, "\nexport KUBECONFIG={}", kubeconfig.display())?;
            writeln!(out, "`make cluster-down` ends it.")?;
            Ok(ExitCode::SUCCESS)
        })),
        ClusterAction::Down => {
            if k8s::cluster::kept().is_empty() {
                writeln!(out, "no cluster is up")?;
            } else {
                writeln!(out, "{}", k8s::cluster::down())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Dropping the future is what takes a cluster down, so an interrupt needs no more than that.
async fn until_interrupted(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::select! {
        result = work => result,
        () = suite::interrupted() => {
            writeln!(std::io::stdout(), "\ninterrupted; taking everything down")?;
            Ok(ExitCode::from(130))
        }
    }
}

async fn look(socket: &Path, command: &str) -> Result<()> {
    let mut out = std::io::stdout();
    if !command.is_empty() {
        return Ok(write!(out, "{}", vpp::command(socket, command).await?)?);
    }
    for (kind, lines) in vpp::snapshot(socket).await? {
        writeln!(out, "{kind}:")?;
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}

async fn up(nodes: u8, keep: bool) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    let mut cluster = Cluster::start(nodes).await?;
    writeln!(
        out,
        "export KUBECONFIG={}",
        cluster.control().kubeconfig().display()
    )?;
    if keep {
        cluster.keep()?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "Ctrl-C ends it")?;
    std::future::pending().await
}

fn exit_code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
