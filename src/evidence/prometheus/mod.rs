//! Prometheus as a source: one client a provider, shared by all releases that ask it, with a bound on what is asked at one time. A provider
//! that hangs costs each question its own deadline, the wait for its turn included, and nobody else anything.

mod answer;
mod dialect;
mod promql;
mod round;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

pub use answer::AnswerError;
use answer::Vector;
use promql::Expr;
pub(super) use round::Rounds;

use crate::model::duration::rough;
use crate::model::samples::Dialect;

/// Questions at one time to one provider, over all releases.
const QUESTIONS: usize = 8;
/// Looks at one window of an objective.
const STEPS: u32 = 720;

/// Gives the value of `Authorization`, read anew; the error is one clause without the secret.
pub type Authorization = Arc<dyn Fn() -> Result<HeaderValue, String> + Send + Sync>;

/// Where and how to ask.
#[derive(Clone)]
pub struct Options {
    /// The address that `api/v1/query` is joined to; it ends with `/`.
    pub url: Url,
    /// Who asks; `None`: anybody.
    pub authorization: Option<Authorization>,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// Headers that each request carries.
    pub headers: HeaderMap,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How often pods are scraped.
    pub scrape_interval: Duration,
    /// The names to look for, in this order.
    pub dialects: Vec<Dialect>,
    /// The label that holds a pod's name.
    pub pod_label: String,
    /// The label that holds a pod's namespace; empty: none does.
    pub namespace_label: String,
}

/// Why there is no answer. Each is transient: the same question may have an answer later.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The deadline passed.
    #[error("no answer within {}", rough(*.0))]
    Timeout(Duration),
    /// The credentials cannot be read.
    #[error("{0}")]
    Credentials(String),
    /// The connection did not come about or broke.
    #[error("cannot be asked")]
    Request(#[source] reqwest::Error),
    /// It answered, and that says nothing.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl AskError {
    /// Returns one clause for people, with the innermost cause, at most 300 characters.
    pub fn clause(&self) -> String {
        let mut text = self.to_string();
        if let Self::Request(error) = self {
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            text = format!("{text}: {cause}");
        }
        text.chars().take(300).collect()
    }
}

/// A provider.
pub struct Provider {
    options: Options,
    client: reqwest::Client,
    permits: Semaphore,
}

impl Provider {
    /// Sets up the client. Fails if TLS cannot be set up, or the certificates are none.
    pub fn new(options: Options) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(QUESTIONS)
            .user_agent(concat!("idp/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.ca {
            for certificate in reqwest::Certificate::from_pem_bundle(pem)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self { client: builder.build()?, options, permits: Semaphore::new(QUESTIONS) })
    }

    /// Returns how old a sample may be: two and a half scrapes, so that one that is lost makes nothing unknown.
    fn stale_after(&self) -> Duration {
        self.options.scrape_interval * 5 / 2
    }

    /// Returns how long pods may be missing at the provider before it is taken as not scraping them.
    pub(super) fn patience(&self) -> Duration {
        self.options.scrape_interval * 3
    }

    /// Asks for the numbers of a query, now or at a time of the provider's own clock.
    async fn ask(&self, query: &str, at: Option<f64>) -> Result<Vector, AskError> {
        let deadline = self.options.timeout;
        let asked = async {
            let _turn = self.permits.acquire().await;
            self.send(query, at).await
        };
        timeout(deadline, asked).await.unwrap_or(Err(AskError::Timeout(deadline)))
    }

    /// Asks for one number; the error is one clause.
    pub(super) async fn value(&self, query: &str) -> Result<f64, String> {
        self.number(&Expr::Given(query.to_owned())).await
    }

    /// Asks for the share of one rate of another over a window; the error is one clause. The window is looked at in 720 steps, or in
    /// minutes if those are longer.
    pub(super) async fn share(&self, good: &str, total: &str, window: Duration) -> Result<f64, String> {
        let step = (window / STEPS).max(Duration::from_mins(1));
        let sum =
            |query: &str| Box::new(Expr::SumOver(Box::new(Expr::Given(query.to_owned())), window, step));
        self.number(&Expr::Divide(sum(good), sum(total))).await
    }

    async fn number(&self, query: &Expr) -> Result<f64, String> {
        let vector = self.ask(&query.to_string(), None).await.map_err(|error| error.clause())?;
        answer::single(&vector)
    }

    async fn send(&self, query: &str, at: Option<f64>) -> Result<Vector, AskError> {
        let url = self.options.url.join("api/v1/query").unwrap_or_else(|_| self.options.url.clone());
        let mut request = self
            .client
            .post(url)
            .headers(self.options.headers.clone())
            .header(ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(query, at));
        if let Some(authorization) = &self.options.authorization {
            request = request.header(AUTHORIZATION, authorization().map_err(AskError::Credentials)?);
        }
        let failed = |error: reqwest::Error| AskError::Request(error.without_url());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > answer::LIMIT {
                return Err(AnswerError::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer::read(status, &body)?)
    }
}

fn form(query: &str, at: Option<f64>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", query);
    if let Some(at) = at {
        form.append_pair("time", &format!("{at:.3}"));
    }
    form.finish()
}
