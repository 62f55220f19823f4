//! Startup, readiness and liveness probes, as a pod declares them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};

use super::{
    super::{grpc, http::get, json},
    pod::News,
};

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Check {
    Http {
        path: String,
        port: u16,
    },
    Tcp {
        port: u16,
    },
    Grpc {
        port: u16,
    },
    /// Commands are not run in the sandbox; they succeed.
    Nothing,
}

/// A probe with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    check: Check,
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    timeout: Duration,
    successes: u32,
    pub(crate) failures: u32,
}

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl Probe {
    /// Reads a probe; none if its port is not known.
    pub(crate) fn read(probe: &Value, port: impl Fn(&Value) -> Option<u16>) -> Option<Self> {
        let check = if let Some(http) = json::at(probe, &["httpGet"]) {
            let path = match json::text(http, &["path"]) {
                "" => "/",
                path => path,
            };
            Check::Http { path: path.to_owned(), port: port(http.get("port")?)? }
        } else if let Some(tcp) = json::at(probe, &["tcpSocket"]) {
            Check::Tcp { port: port(tcp.get("port")?)? }
        } else if let Some(grpc) = json::at(probe, &["grpc"]) {
            Check::Grpc { port: port(grpc.get("port")?)? }
        } else {
            Check::Nothing
        };
        let number = |name: &str, default: u64| {
            json::int(probe, &[name]).and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
        };
        let count = |name: &str, default: u64| u32::try_from(number(name, default)).unwrap_or(1);
        Some(Self {
            check,
            initial_delay: Duration::from_secs(number("initialDelaySeconds", 0)),
            period: Duration::from_secs(number("periodSeconds", 10).max(1)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1).max(1)),
            successes: count("successThreshold", 1),
            failures: count("failureThreshold", 3),
        })
    }

    /// The path that it asks for, without a query.
    pub(crate) fn path(&self) -> Option<&str> {
        match &self.check {
            Check::Http { path, .. } => path.split('?').next(),
            Check::Tcp { .. } | Check::Grpc { .. } | Check::Nothing => None,
        }
    }

    /// Asks once.
    async fn ask(&self, address: IpAddr) -> bool {
        match &self.check {
            Check::Http { path, port } => {
                let answer =
                    get(SocketAddr::new(address, *port), path, "kube-probe/1.36", self.timeout).await;
                answer.is_ok_and(|answer| (200..400).contains(&answer.status().as_u16()))
            }
            Check::Tcp { port } => {
                let connect = TcpStream::connect(SocketAddr::new(address, *port));
                tokio::time::timeout(self.timeout, connect).await.is_ok_and(|stream| stream.is_ok())
            }
            Check::Grpc { port } => {
                let asked = grpc::is_serving(SocketAddr::new(address, *port));
                tokio::time::timeout(self.timeout, asked).await.unwrap_or(false)
            }
            Check::Nothing => true,
        }
    }

    /// Asks again and again, and sends news each time that the thresholds turn the result, until nobody listens.
    ///
    /// `scale` multiplies the delay and the period; timeouts stay, since a loaded machine does not get faster.
    pub(super) async fn watch(
        self,
        address: IpAddr,
        scale: f64,
        news: mpsc::Sender<News>,
        tell: impl Fn(bool) -> News,
    ) {
        tokio::time::sleep(self.initial_delay.mul_f64(scale)).await;
        let period = self.period.mul_f64(scale).max(Duration::from_millis(5));
        let mut told = None;
        let mut streak = (true, 0_u32);
        loop {
            let result = self.ask(address).await;
            streak = if streak.0 == result { (result, streak.1.saturating_add(1)) } else { (result, 1) };
            let needed = if result { self.successes } else { self.failures };
            if streak.1 >= needed && told != Some(result) {
                told = Some(result);
                if news.send(tell(result)).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(period).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_probe_is_read_with_its_defaults() {
        let probe = Probe::read(&json!({"httpGet": {"port": "http"}}), |_| Some(8080)).unwrap();
        assert_eq!((probe.path(), probe.period, probe.failures), (Some("/"), Duration::from_secs(10), 3));
        assert_eq!(Probe::read(&json!({"tcpSocket": {"port": "gone"}}), |_| None), None);
    }
}
