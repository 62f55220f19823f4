//! `idp`: arguments → library → exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use idp::cli::command::Ask;
use idp::cli::connect::Scope;
use idp::cli::demo::DemoArgs;
use idp::cli::hook::{self, HookArgs};
use idp::cli::rehearse::RehearseArgs;
use idp::cli::simulate::SimulateArgs;
use idp::cli::validate::ValidateArgs;
use idp::cli::{
    CliError, Exit, Global, Output, command, completions, crd, deliveries, demo, explain, history, pulls,
    rehearse, report, schema, simulate, sources_live, status, suspend, validate, version, watch,
};
use idp::model::command::Verb as Asked;
use idp::model::duration;
use idp::model::name::SourceName;

/// A simulation makes and drops small values all the time: with the C library's it takes half as long again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From a merged commit to a health-gated canary and a verdict: what became of it, and what to do about it
#[derive(Debug, Parser)]
#[command(name = "idp", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the fleet and its sources, or one release with its objects, step and gates
    Status {
        /// <service>.<environment>; the service alone where it has one environment
        release: Option<String>,
    },
    /// Say why a release is where it is, what unblocks it, and when it looks next
    Explain {
        /// <service>.<environment>; the service alone where it has one environment
        release: String,
    },
    /// Write what happened in a rollout as Markdown, for a postmortem
    Report {
        /// <service>.<environment>; the service alone where it has one environment
        release: String,
        /// The rollout; the newest one if not said
        #[arg(long, value_name = "NUMBER")]
        rollout: Option<u64>,
    },
    /// Follow or steer a rollout
    #[command(subcommand)]
    Rollout(Rollout),
    /// Show what became of the last webhook deliveries: accepted, duplicate, irrelevant or refused, and why
    Deliveries {
        /// Only those of this source
        #[arg(long, value_name = "NAME")]
        source: Option<SourceName>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show how the daemon sees its sources: exit code 0 if all are fine, 1 if one is not
    Sources {
        #[command(flatten)]
        daemon: Daemon,
        #[command(subcommand)]
        verb: Option<Sources>,
    },
    /// Show the pull requests of sources, and who approves of them, as they are kept in the cluster
    Pulls {
        /// Only those of this source
        source: Option<SourceName>,
    },
    /// Tell the whole story on embedded parts: a good release, a bad one, a revert, a crash and a fix
    Demo(DemoArgs),
    /// Check declarations the way the daemon does: 0 if all are right, 1 if one is refused, 2 if one could not be read
    Validate(ValidateArgs),
    /// Play the declared rollout of a declaration in virtual time: what would happen, when and why; 0 promoted, 1 not
    Rehearse(RehearseArgs),
    /// Play seeds with every fault in virtual time: 0 if every property held, 1 with the shortest plan that breaks one
    Simulate(SimulateArgs),
    /// Print the JSON Schema of .idp/deploy.yaml, for editors
    Schema,
    /// Print the definition of the Release resource, for kubectl apply
    Crd,
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print which program this is
    Version,
}

#[derive(Debug, Subcommand)]
enum Rollout {
    /// Follow the running rollout: exit code 0 if promoted, 1 if not, 3 if the cluster does not answer, 4 on timeout
    Watch {
        /// <service>.<environment>; the service alone where it has one environment
        release: String,
        /// Stop watching after this long, as in 30s, 5m, 1h30m; the rollout goes on
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        timeout: Option<Duration>,
        /// If none is running, wait for the next one
        #[arg(long)]
        next: bool,
    },
    /// Show what was tried, how it ended, and what can be gone back to
    History {
        /// <service>.<environment>; the service alone where it has one environment
        release: String,
    },
    /// End the running rollout: back to the stable version, and hold the new one
    Abort(Steer),
    /// Give the version that is held or parked a second chance
    Retry(Steer),
    /// Go on now: the rest of the running step's pause is not waited for
    Promote {
        #[command(flatten)]
        steer: Steer,
        /// Nor is any later pause, nor a gate that cannot tell; a gate that fails still takes it back
        #[arg(long)]
        full: bool,
    },
    /// Stay at the running step until `resume`, for a day at most; a gate that fails still takes it back
    Pause(Steer),
    /// End a pause
    Resume(Steer),
    /// Agree to what the running rollout waits for
    Approve(Steer),
    /// Go back to the version that was stable before, and hold the present one: needs nothing but the cluster
    Undo {
        #[command(flatten)]
        steer: Steer,
        /// The rollout that brought the version to go back to; see `idp rollout history`
        #[arg(long, value_name = "ROLLOUT")]
        to: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
struct Daemon {
    /// The daemon's own address; it answers only who asks from its machine, as through a forwarded port
    #[arg(
        long,
        global = true,
        env = "IDP_DAEMON",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    daemon: url::Url,
}

#[derive(Debug, Subcommand)]
enum Sources {
    /// Look at a source now
    Look {
        /// The source, as the configuration names it
        source: SourceName,
    },
    /// Let a source not be looked at any more: what it said last stays, what runs goes on, a rollback still works
    Suspend {
        /// The source, as the configuration names it
        source: SourceName,
        /// Why, in your words; kept with your name
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Let a source be looked at again, and at once
    Resume {
        /// The source, as the configuration names it
        source: SourceName,
        /// Why, in your words; kept with your name
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Say what to enter in the forge, so that it calls the daemon; with --create, enter it there
    Hook {
        /// The source, as the configuration names it
        source: SourceName,
        #[command(flatten)]
        hook: HookArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Steer {
    /// <service>.<environment>; the service alone where it has one environment
    release: String,
    /// Why, in your words; kept with your name
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

impl Steer {
    fn ask(&self, verb: Asked) -> Ask {
        Ask::new(verb, &self.why)
    }

    async fn give(&self, scope: &Scope, output: &Output, ask: Ask) -> Result<Exit, CliError> {
        command::run(scope, output, &self.release, &ask).await
    }
}

fn main() -> ExitCode {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: starting the runtime\n  because: {error}");
            return ExitCode::from(Exit::Unreachable.code());
        }
    };
    let exit = runtime.block_on(run(&arguments)).unwrap_or_else(|error| {
        eprintln!("{}", error.report());
        error.exit()
    });
    ExitCode::from(exit.code())
}

async fn run(arguments: &Arguments) -> Result<Exit, CliError> {
    let Arguments { global, verb } = arguments;
    let output = &Output::new(global.output, global.color);
    match verb {
        Verb::Status { release } => {
            let scope = &Scope::of(global).await?;
            match release {
                None => status::fleet(scope, output, &global.home_namespace).await,
                Some(release) => status::one(scope, output, release).await,
            }
        }
        Verb::Explain { release } => explain::run(&Scope::of(global).await?, output, release).await,
        Verb::Report { release, rollout } => {
            report::run(&Scope::of(global).await?, output, release, *rollout).await
        }
        Verb::Rollout(verb) => {
            let scope = &Scope::of(global).await?;
            match verb {
                Rollout::Watch { release, timeout, next } => {
                    let options =
                        watch::Options { timeout: *timeout, next: *next, ..watch::Options::default() };
                    watch::run(scope, output, release, options).await
                }
                Rollout::History { release } => history::run(scope, output, release).await,
                Rollout::Abort(steer) => steer.give(scope, output, steer.ask(Asked::Abort)).await,
                Rollout::Retry(steer) => steer.give(scope, output, steer.ask(Asked::Retry)).await,
                Rollout::Promote { steer, full } => {
                    steer.give(scope, output, Ask { full: *full, ..steer.ask(Asked::Promote) }).await
                }
                Rollout::Pause(steer) => steer.give(scope, output, steer.ask(Asked::Pause)).await,
                Rollout::Resume(steer) => steer.give(scope, output, steer.ask(Asked::Resume)).await,
                Rollout::Approve(steer) => steer.give(scope, output, steer.ask(Asked::Approve)).await,
                Rollout::Undo { steer, to } => {
                    steer.give(scope, output, Ask { to: *to, ..steer.ask(Asked::Undo) }).await
                }
            }
        }
        Verb::Deliveries { source, daemon } => deliveries::run(&daemon.daemon, source.as_ref(), output).await,
        Verb::Sources { daemon: Daemon { daemon }, verb } => match verb {
            None => sources_live::list(daemon, output).await,
            Some(Sources::Look { source }) => sources_live::look(daemon, source, output).await,
            Some(Sources::Suspend { source, reason }) => {
                suspended(global, output, source, (true, reason)).await
            }
            Some(Sources::Resume { source, reason }) => {
                suspended(global, output, source, (false, reason)).await
            }
            Some(Sources::Hook { source, hook }) if hook.create => {
                hook::create(daemon, source, hook, output).await
            }
            Some(Sources::Hook { source, .. }) => sources_live::hook(daemon, source, output).await,
        },
        Verb::Pulls { source } => {
            pulls::run(&Scope::of(global).await?, output, &global.home_namespace, source.as_ref()).await
        }
        Verb::Demo(arguments) => Ok(demo::run(arguments, output).await),
        Verb::Validate(arguments) => validate::run(arguments, output),
        Verb::Rehearse(arguments) => rehearse::run(arguments, output),
        Verb::Simulate(arguments) => simulate::run(arguments, output),
        Verb::Schema => schema::run(output),
        Verb::Crd => crd::run(&idp::cluster::crd::crd(), output),
        Verb::Completions { shell } => completions::run(Arguments::command(), *shell),
        Verb::Version => version::run(output),
    }
}

async fn suspended(
    global: &Global,
    output: &Output,
    source: &SourceName,
    asked: (bool, &str),
) -> Result<Exit, CliError> {
    suspend::run(&Scope::of(global).await?, output, &global.home_namespace, source, asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
