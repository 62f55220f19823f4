//! A GET of an address that a team wrote. What it may reach is bounded: neither this machine nor the addresses where clouds serve
//! credentials, whatever a name resolves to; a redirect stays on its host.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use url::{Host, Url};

use crate::model::samples::Measured;

/// Requests at one time, over all releases.
const REQUESTS: usize = 16;
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Bytes of a body that are read; only the status decides.
const BODY: usize = 64 << 10;
/// Where clouds serve credentials beside the link-local addresses: of EC2 over IPv6, of Alibaba, of Oracle.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 0, 192)),
];

/// Tells of an address that is denied by default whether it may be asked all the same.
pub type Allow = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Tells why an address is not asked, unless the platform allows it.
fn denied(address: IpAddr, allowed: &Allow) -> Option<String> {
    let address = address.to_canonical();
    if allowed(address) {
        return None;
    }
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let what = match address {
        address if address.is_loopback() || address.is_unspecified() => "this machine's own",
        _ if link_local => "link-local, where clouds serve credentials",
        address if METADATA.contains(&address) => "where a cloud serves credentials",
        address if address.is_multicast() => "a multicast one",
        _ => return None,
    };
    Some(format!("the address {address} is {what} and not asked; the platform may allow it"))
}

/// Resolves names, and leaves out what may not be asked: so the address that is connected to is one that was looked at.
struct Resolver(Allow);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let denial = found.first().and_then(|address| denied(address.ip(), &allowed));
            let fine: Vec<SocketAddr> =
                found.into_iter().filter(|address| denied(address.ip(), &allowed).is_none()).collect();
            if fine.is_empty() {
                let why = denial.unwrap_or_else(|| format!("{} has no address", name.as_str()));
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            Ok::<Addrs, _>(Box::new(fine.into_iter()))
        })
    }
}

/// The client; one for all releases.
pub struct Outside {
    client: reqwest::Client,
    allowed: Allow,
    permits: Semaphore,
}

/// Tells why a URL is not asked: an address in place of a name is not resolved.
fn refused(url: &Url, allowed: &Allow) -> Option<String> {
    match url.host()? {
        Host::Ipv4(address) => denied(address.into(), allowed),
        Host::Ipv6(address) => denied(address.into(), allowed),
        Host::Domain(_) => None,
    }
}

impl Outside {
    /// Sets up the client; `allowed` may be asked although it is denied by default. Fails if TLS cannot be set up.
    pub fn new(allowed: Allow) -> Result<Self, reqwest::Error> {
        let same_host = reqwest::redirect::Policy::custom(|attempt| {
            let origin =
                attempt.previous().first().map(|url| (url.scheme().to_owned(), url.authority().to_owned()));
            let next = (attempt.url().scheme().to_owned(), attempt.url().authority().to_owned());
            if attempt.previous().len() > REDIRECTS || origin != Some(next) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder()
            .redirect(same_host)
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(1)
            .dns_resolver(Arc::new(Resolver(Arc::clone(&allowed))))
            .user_agent(concat!("idp-gate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, allowed, permits: Semaphore::new(REQUESTS) })
    }

    /// Asks once; the caller bounds the time.
    pub(super) async fn get(&self, url: &str) -> Measured {
        let Ok(url) = Url::parse(url) else {
            return Measured::Unknown("its address is none once its templates are filled in".to_owned());
        };
        if let Some(why) = refused(&url, &self.allowed) {
            return Measured::Unknown(why);
        }
        let _turn = self.permits.acquire().await;
        match self.client.get(url).send().await {
            Ok(mut response) => {
                let status = response.status();
                let mut read = 0;
                // A body that hangs is an answer that hangs.
                while let Ok(Some(chunk)) = response.chunk().await {
                    read += chunk.len();
                    if read > BODY {
                        break;
                    }
                }
                judged(status)
            }
            Err(error) => Measured::Unknown(clause(&error.without_url())),
        }
    }
}

/// A 2xx passes. Who is overloaded, away or elsewhere says nothing of the candidate; any other answer is a no.
fn judged(status: StatusCode) -> Measured {
    let code = status.as_u16();
    match code {
        200..=299 => Measured::Pass(None),
        300..=399 => Measured::Unknown(format!("HTTP {code}: a redirect to another host is not followed")),
        408 | 429 | 502 | 503 | 504 => Measured::Unknown(format!("HTTP {code}")),
        _ => Measured::Fail(format!("HTTP {code}"), None),
    }
}

fn clause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("cannot be asked: {cause}").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::header::LOCATION;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    fn nobody() -> Allow {
        Arc::new(|_| false)
    }

    fn ourselves() -> Allow {
        Arc::new(|address| address.is_loopback())
    }

    #[test]
    fn what_is_not_everybodys_is_not_asked() {
        for (address, fine) in [
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("100.100.100.200", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("10.0.0.1", true),
            ("93.184.216.34", true),
            ("fd12::1", true),
        ] {
            assert_eq!(denied(address.parse().unwrap(), &nobody()).is_none(), fine, "{address}");
        }
        assert_eq!(denied("127.0.0.1".parse().unwrap(), &ourselves()), None);
        assert!(denied("169.254.169.254".parse().unwrap(), &ourselves()).is_some());
    }

    async fn server(hits: Arc<AtomicUsize>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counted = move |code: u16| {
            hits.fetch_add(1, Ordering::SeqCst);
            StatusCode::from_u16(code).unwrap()
        };
        let to = |target: String| (StatusCode::FOUND, [(LOCATION, target)]).into_response();
        let router = Router::new()
            .route(
                "/status/{code}",
                get(move |axum::extract::Path(code): axum::extract::Path<u16>| async move { counted(code) }),
            )
            .route("/same", get(move || async move { to("/status/204".to_owned()) }))
            .route("/loop", get(move || async move { to("/loop".to_owned()) }))
            .route("/other", get(move || async move { to(format!("http://127.0.0.2:{port}/status/204")) }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    #[tokio::test]
    async fn a_status_is_a_yes_a_no_or_nothing() {
        let hits = Arc::new(AtomicUsize::new(0));
        let port = server(Arc::clone(&hits)).await;
        let outside = Outside::new(ourselves()).unwrap();
        let unknown = |text: &str| Measured::Unknown(text.to_owned());
        let no = |text: &str| Measured::Fail(text.to_owned(), None);
        for (path, expected) in [
            ("status/204", Measured::Pass(None)),
            ("status/404", no("HTTP 404")),
            ("status/500", no("HTTP 500")),
            ("status/503", unknown("HTTP 503")),
            ("status/429", unknown("HTTP 429")),
            ("same", Measured::Pass(None)),
            ("loop", unknown("HTTP 302: a redirect to another host is not followed")),
            ("other", unknown("HTTP 302: a redirect to another host is not followed")),
        ] {
            assert_eq!(outside.get(&format!("http://127.0.0.1:{port}/{path}")).await, expected, "{path}");
        }
        let guarded = Outside::new(nobody()).unwrap();
        let before = hits.load(Ordering::SeqCst);
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
            let found = guarded.get(&format!("http://{host}:{port}/status/204")).await;
            let told = matches!(&found, Measured::Unknown(why) if why.contains("this machine's own"));
            assert!(told, "{host}: {found:?}");
        }
        assert_eq!(hits.load(Ordering::SeqCst), before, "nobody was asked");
    }
}
