//! The server over real HTTP on 127.0.0.1, so that the genuine kubectl can talk to it.

use std::{io, net::SocketAddr};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::service::ApiService;

/// Listens on a free port and serves until the service's token is cancelled.
pub(crate) async fn listen(service: ApiService, tasks: &TaskTracker) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let inner = tasks.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = service.shutdown.cancelled() => return,
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        inner.spawn(connection(service.clone(), stream));
                    }
                }
            }
        }
    });
    Ok(address)
}

async fn connection(service: ApiService, stream: TcpStream) {
    let shutdown = service.shutdown.clone();
    // Answers are small and latency counts.
    let _ = stream.set_nodelay(true);
    let builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        () = shutdown.cancelled() => {}
        // A caller that goes away, or a dropped reply, ends the connection with an error that concerns nobody here.
        _ = serving => {}
    }
}

/// A kubeconfig for a server at `address`, with `default` as the namespace.
pub(crate) fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: sandbox
  cluster:
    server: http://{address}
contexts:
- name: sandbox
  context:
    cluster: sandbox
    user: sandbox
    namespace: default
users:
- name: sandbox
  user: {{}}
current-context: sandbox
"
    )
}
