//! `kubectl vpp reach`: who reaches whom, found out by sending packets.

mod answer;
mod blame;
mod dataplane;
mod document;
mod fill;
mod invent;
mod journey;
mod kernel;
mod objects;
mod online;
mod packet;
mod query;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use blame::Blame;
use dataplane::Dataplane;
use document::Mistake;
use objects::Objects;
pub(crate) use online::client;
pub use online::{Access, Error as ClusterError};
use query::{Asked, Family, Outcome, Protocol, Query};
use report::Report;

/// Longer description of the command.
pub const ABOUT: &str = "\
Say whether traffic is allowed, and by which policy and rule, or which default denies it.

No cluster is needed: give the manifests with --objects. Without it the objects of the cluster are read that kubectl
speaks to; with --objects and --kubeconfig or --context both count, the manifests as if they had been applied to the
cluster. Nothing in the cluster is changed, and no packet is sent there. The objects are compiled as the operator compiles them and planned as
the node daemon plans them; every node's plan is loaded into an embedded dataplane, and a packet is sent from the source
through its node's policies, NAT and routes, over the tunnel to the other node, to the destination, and its answer back.
Clients outside and nodes themselves meet the node's kernel first, as it would be told to lead them. So the answer is
about what would be programmed, not about what the policies seem to say.

What the manifests leave open is filled in, always in the same way: nodes that pods name, nodes for pods that name none,
addresses of pods and Services (cluster IPs; node ports, external and load-balancer addresses count as they are written),
endpoints of Services with a selector and no EndpointSlice, with the hints of their trafficDistribution. Pods must be among the objects; objects of other
kinds (Deployments, say) are left out, which is told on standard error.";

/// Examples in the command's help.
pub const EXAMPLES: &str = r#"Examples:
  May the client reach the web server?
    kubectl vpp reach --objects manifests/ --from shop/client --to shop/web --port 80

  The same of the cluster that kubectl speaks to:
    kubectl vpp reach --from shop/client --to shop/web --port 80

  And with a policy that is not applied yet:
    kubectl vpp reach --context staging --objects new-policy.yaml --from shop/client --to shop/web --port 80

  From a snapshot, where the cluster is out of reach:
    kubectl get nodes,namespaces,pods,services,endpointslices,networkpolicies -A -o yaml > cluster.yaml
    kubectl vpp reach --objects cluster.yaml --objects new-policy.yaml --from shop/client --to shop/web --port 80

  Many questions, one JSON object a line, one JSON answer a line in the same order:
    kubectl vpp reach --objects manifests/ --queries queries.jsonl -o json

  queries.jsonl:
    {"from":"shop/client","to":"shop/web","port":80,"protocol":"TCP","expect":"allowed"}
    {"from":"shop/stranger","to":"shop/web","port":80,"expect":"denied"}
    {"from":"shop/client","to":"service:shop/web","port":80,"family":"IPv6"}
    {"from":"203.0.113.7","via":"node/node-1","to":"shop/web","port":80}
    {"from":"203.0.113.7","to":"node/node-1","port":30080,"expect":"allowed"}
    {"from":"203.0.113.7","via":"node/node-2","to":"198.51.100.7","port":80}
    {"from":"node/node-1","to":"service:shop/web","port":80}

Ends of a question:
  namespace/pod      a pod; one that uses the host's network is its node
  namespace/service  a Service, by its cluster IP; where a pod has the same name, write service:namespace/service
  node/NAME          a node itself; with a node port as port, the Service that has it
  ADDRESS            an IPv4 or IPv6 address: a pod's, a node's, a Service's (cluster IP, external or load-balancer
                     address), or one outside of the cluster
  via node/NAME      where packets from outside enter: needed for addresses of Services, as each node leads its own way

Answers, in JSON: the question's fields, and
  allowed    whether packets arrive and their answers come back
  outcome    allowed, denied (by policy), rejected (the sender is told at once), dropped (lost for another reason)
  by         "namespace/policy ingress[0]" (the field of the rule that allows it), or the default that decides
  backends   for Services: everything a connection can land on, sorted; allowed means that all of them are reached.
             Without endpoints it is rejected, and where a policy Local finds none on the node, dropped
  sourceNat  whether the destination sees another address than the sender's
  trace      with --trace: each step there and back

A question with "expect" is a test: when an answer differs, the difference is printed and the exit code is 1.

Exit codes: 0 all was answered (and was as expected), 1 an expectation was not met, 2 bad input (told with file and
line), 3 an answer could not be given (the cluster cannot be read, say).
"#;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The command's options.
#[derive(Debug, Args)]
pub struct Options {
    /// Manifests: a file (YAML or JSON; several documents or a List), a folder (its .yaml, .yml and .json files, and
    /// those of its folders), or - for standard input. May be repeated; of two objects of one name the later counts.
    #[arg(long, value_name = "FILE|DIR|-")]
    pub objects: Vec<PathBuf>,

    /// The cluster to read, and how; by default what kubectl uses.
    #[command(flatten)]
    pub access: Access,

    /// Questions, one JSON object a line, or - for standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["from", "to"], required_unless_present = "from")]
    pub queries: Option<PathBuf>,

    /// Who sends: namespace/pod, node/NAME or an address.
    #[arg(long, requires = "to")]
    pub from: Option<String>,

    /// To whom: namespace/pod, namespace/service, node/NAME (with a node port: its Service) or an address.
    #[arg(long, requires = "from")]
    pub to: Option<String>,

    /// Destination port.
    #[arg(long, value_name = "1-65535", value_parser = clap::value_parser!(u16).range(1..), requires = "from")]
    pub port: Option<u16>,

    /// Protocol; ICMP is an echo.
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub protocol: Protocol,

    /// Address family, where both ends have both (IPv4 is tried first).
    #[arg(long, value_enum, ignore_case = true, requires = "from")]
    pub family: Option<Family>,

    /// The node by which traffic from outside of the cluster enters, as node/NAME (otherwise the destination's; needed
    /// for addresses of Services).
    #[arg(long, value_name = "node/NAME", requires = "from")]
    pub via: Option<String>,

    /// What the outcome should be; otherwise the exit code is 1. "denied" is met by anything but allowed.
    #[arg(long, value_enum, ignore_case = true, requires = "from")]
    pub expect: Option<Outcome>,

    /// How to write answers.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,

    /// Show every step of the packet and of its answer.
    #[arg(long)]
    pub trace: bool,
}

/// Why there are no answers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input cannot be used.
    #[error("{}", lines(.0))]
    Input(Vec<Mistake>),
    /// The command line cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The cluster cannot be read.
    #[error(transparent)]
    Cluster(#[from] online::Error),
    /// The dataplane did not take what was planned.
    #[error(transparent)]
    Dataplane(#[from] dataplane::Error),
    /// Answers cannot be written.
    #[error("writing answers: {0}")]
    Write(#[from] io::Error),
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// Reasons of problems that do not matter to what-if questions, or that answers tell anyway.
const TOLD_ELSEWHERE: [&str; 2] = ["NoEndpoints", "NoPodCIDR"];

/// Answers all questions on `out`; remarks and unmet expectations go to `err`. Whether all expectations were met.
///
/// # Errors
/// [`Error`]; nothing is answered when a question or an object cannot be used.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> Result<bool, Error> {
    let stdin = |path: &PathBuf| path.as_os_str() == "-";
    if options
        .objects
        .iter()
        .chain(&options.queries)
        .filter(|path| stdin(path))
        .count()
        > 1
    {
        let message = "standard input can be read once only: give a file for one of the options that say -";
        return Err(Error::Usage(message.to_owned()));
    }
    let mut documents = Vec::new();
    if options.objects.is_empty() || options.access.is_given() {
        documents = online::read(&options.access)?;
    }
    documents.extend(document::read_all(&options.objects).map_err(Error::Input)?);
    let mut objects = Objects::read(&documents).map_err(Error::Input)?;
    let asked = questions(options)?;
    for (kind, count) in &objects.ignored {
        writeln!(err, "note: left out, as it does not matter here: {count} {kind}")?;
    }
    invent::complete(&mut objects);
    let mut dataplane = Dataplane::build(objects)?;
    for problem in &dataplane.output.problems {
        if !TOLD_ELSEWHERE.contains(&problem.reason) {
            let of = &problem.object;
            let namespace = of
                .namespace
                .as_ref()
                .map_or(String::new(), |namespace| format!("{namespace}/"));
            writeln!(
                err,
                "warning: {} {namespace}{}: {}",
                of.kind, of.name, problem.message
            )?;
        }
    }
    let mut blame = Blame::new(&dataplane.cluster);
    let mut routes = Vec::with_capacity(asked.len());
    let mut mistakes = Vec::new();
    for each in &asked {
        match query::resolve(&dataplane, each) {
            Ok(route) => routes.push(route),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::Input(mistakes));
    }
    let mut report = Report::new(options.output);
    for (each, route) in asked.iter().zip(&routes) {
        let answer = answer::answer(&mut dataplane, &mut blame, &each.query, route, options.trace);
        report.add(out, each, &answer)?;
    }
    out.flush()?;
    report.finish(err)?;
    Ok(report.is_as_expected())
}

fn questions(options: &Options) -> Result<Vec<Asked>, Error> {
    if let Some(path) = &options.queries {
        return query::read(path).map_err(Error::Input);
    }
    let query = Query {
        from: options.from.clone().unwrap_or_default(),
        to: options.to.clone().unwrap_or_default(),
        port: options.port,
        protocol: options.protocol,
        family: options.family,
        via: options.via.clone(),
        expect: options.expect,
    };
    Ok(vec![Asked { query, place: None }])
}
