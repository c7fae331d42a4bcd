//! `kubectl vpp services`: what each Service is in the dataplane, on which nodes, and what is pending and why.

mod read;
mod table;
mod view;

use std::io::{self, IsTerminal as _, Write};

use clap::{Args, ValueEnum};

use crate::reach::Access;
pub use view::{Backend, Frontend, Node, State, View, views};

/// Longer description of the command.
pub const ABOUT: &str = "\
Show Services as the dataplane has them: the addresses and ports on which clients reach them, their backends, and for
every node whether they are in its VPP, and if not, why.

Frontends and backends are read from VppServiceSlices, which the operator writes; whether a node has them, from the
condition ServicesApplied of its VppConfig, which the node's daemon writes. A node's condition has room for a few
reasons: where it names others only, the node's own word on this Service is \"unknown\".";

/// Examples in the command's help.
pub const EXAMPLES: &str = "Examples:
  kubectl vpp services                    Services of the current namespace, a line each
  kubectl vpp services -A                 of all namespaces
  kubectl vpp services web -n shop        one Service: frontends, backends, nodes
  kubectl vpp services -A -o json         for programs

Exit codes: 0 shown, 2 there is no such Service, 3 the cluster cannot be read.
";

/// How Services are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables.
    #[default]
    Table,
    /// One JSON list.
    Json,
    /// One YAML list.
    Yaml,
}

/// The command's options.
#[derive(Debug, Args)]
pub struct Options {
    /// One Service, in all detail.
    pub name: Option<String>,

    /// Namespace; by default that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Services of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub all_namespaces: bool,

    /// The cluster to read, and how; by default what kubectl uses.
    #[command(flatten)]
    pub access: Access,

    /// How to show them.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such Service.
    #[error("there is no Service {namespace}/{name}{}", elsewhere(.found))]
    Unknown {
        /// Namespace asked.
        namespace: String,
        /// Name asked for.
        name: String,
        /// Namespaces that have one.
        found: Vec<String>,
    },
    /// The cluster cannot be read.
    #[error(transparent)]
    Cluster(#[from] crate::reach::ClusterError),
    /// It cannot be written.
    #[error("writing Services: {0}")]
    Write(#[from] io::Error),
}

fn elsewhere(namespaces: &[String]) -> String {
    match namespaces {
        [] => String::new(),
        some => format!(
            "; namespaces with a Service of this name: {} (-n NAME)",
            some.join(", ")
        ),
    }
}

/// Shows Services on `out`.
///
/// # Errors
/// [`Error`].
pub fn run(options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let found = read::read(&options.access)?;
    let mut shown = views(&found.services, &found.slices, &found.configs);
    let namespace = options.namespace.clone().unwrap_or(found.namespace);
    if !options.all_namespaces {
        if let Some(name) = &options.name
            && !shown
                .iter()
                .any(|view| view.namespace == namespace && view.name == *name)
        {
            let others = shown.iter().filter(|view| view.name == *name);
            return Err(Error::Unknown {
                found: others.map(|view| view.namespace.clone()).collect(),
                name: name.clone(),
                namespace,
            });
        }
        shown.retain(|view| view.namespace == namespace);
    }
    if let Some(name) = &options.name {
        shown.retain(|view| view.name == *name);
    }
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match options.output {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &shown).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Yaml => {
            let text = serde_norway::to_string(&shown).map_err(io::Error::other)?;
            out.write_all(text.as_bytes())?;
        }
        Format::Table if options.name.is_some() => {
            for view in &shown {
                table::detail(out, view, coloured)?;
            }
        }
        Format::Table if shown.is_empty() => {
            let place = if options.all_namespaces {
                "the cluster".to_owned()
            } else {
                format!("namespace {namespace}")
            };
            writeln!(out, "No Services in {place}.")?;
        }
        Format::Table => table::list(out, &shown, options.all_namespaces, coloured)?,
    }
    Ok(())
}
