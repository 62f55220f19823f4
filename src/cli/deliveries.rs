//! `idp deliveries`: what became of the last webhook deliveries, as the daemon tells who asks from its machine.

use url::Url;

use super::daemon;
use super::output::Tone;
use super::table::{Cell, render};
use super::{CliError, Exit, Output};
use crate::model::name::SourceName;
use crate::source::webhook::{Delivery, Log, Turned};

/// Asks the daemon and prints what it says.
pub async fn run(daemon: &Url, source: Option<&SourceName>, output: &Output) -> Result<Exit, CliError> {
    let log = ask(daemon, source).await?;
    output.show(&log, |output| text(&log, output.width, output.colour))?;
    Ok(Exit::Good)
}

async fn ask(daemon: &Url, source: Option<&SourceName>) -> Result<Log, CliError> {
    let query: Vec<_> = source.map(|source| ("source", source.as_str())).into_iter().collect();
    daemon::get(daemon, "/api/v1/deliveries", &query, "its deliveries").await
}

/// Renders the deliveries for people.
pub fn text(log: &Log, width: u16, colour: bool) -> String {
    if log.deliveries.is_empty() && log.refused.is_empty() {
        return "no deliveries yet: in the forge, the hook's page shows what it sent and what was answered"
            .to_owned();
    }
    let mut parts = Vec::new();
    if !log.deliveries.is_empty() {
        let header = ["TIME", "SOURCE", "FORGE", "EVENT", "DELIVERY", "OUTCOME", "WHY"];
        parts.push(render(&header, log.deliveries.iter().map(row).collect(), width, colour));
    }
    if !log.refused.is_empty() {
        let header = ["LATEST", "SOURCE", "FORGE", "TURNED AWAY", "TIMES", "WHY"];
        parts.push(render(&header, log.refused.iter().map(turned).collect(), width, colour));
    }
    parts.join("\n\n")
}

fn row(delivery: &Delivery) -> Vec<Cell> {
    let tone = match delivery.outcome.as_str() {
        "accepted" => Tone::Good,
        "refused" => Tone::Bad,
        _ => Tone::Faint,
    };
    vec![
        Cell::new(time(delivery.at)),
        Cell::new(&delivery.source),
        Cell::new(&delivery.forge),
        Cell::new(&delivery.event),
        Cell::new(delivery.id.as_deref().unwrap_or_default()),
        Cell::new(&delivery.outcome).tone(tone),
        Cell::new(&delivery.why),
    ]
}

fn turned(turned: &Turned) -> Vec<Cell> {
    vec![
        Cell::new(time(turned.latest)),
        Cell::new(turned.source.as_deref().unwrap_or_default()),
        Cell::new(turned.forge.as_deref().unwrap_or_default()),
        Cell::new(&turned.reason).tone(Tone::Bad),
        Cell::new(turned.count.to_string()),
        Cell::new(&turned.why),
    ]
}

/// To the second: a forge's page shows no more.
fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn log() -> Log {
        let delivery = Delivery {
            at: Timestamp::UNIX_EPOCH,
            source: "web".to_owned(),
            forge: "gitea".to_owned(),
            event: "push".to_owned(),
            id: None,
            outcome: "accepted".to_owned(),
            why: "main moved".to_owned(),
            hinted: vec!["main".to_owned()],
        };
        let turned = Turned {
            source: None,
            forge: None,
            reason: "unknown_source".to_owned(),
            why: "no such source".to_owned(),
            count: 3,
            latest: Timestamp::UNIX_EPOCH,
        };
        Log { deliveries: vec![delivery], refused: vec![turned] }
    }

    #[test]
    fn what_was_turned_away_stands_apart() {
        assert_eq!(
            text(&log(), 120, false),
            "TIME                  SOURCE  FORGE  EVENT  DELIVERY  OUTCOME   WHY
1970-01-01T00:00:00Z  web     gitea  push   -         accepted  main moved

LATEST                SOURCE  FORGE  TURNED AWAY     TIMES  WHY
1970-01-01T00:00:00Z  -       -      unknown_source  3      no such source"
        );
        assert!(text(&Log::default(), 80, false).starts_with("no deliveries yet"));
    }

    /// Answers one request and returns its first line.
    async fn answer(status: &str, body: String) -> (Url, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..read]).lines().next().unwrap().to_owned()
        });
        (url, task)
    }

    #[tokio::test]
    async fn the_daemon_is_asked_for_a_source_and_believed() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let source: SourceName = "web".parse().unwrap();
        let (url, asked) = answer("200 OK", serde_json::to_string(&log()).unwrap()).await;
        assert_eq!(ask(&url, Some(&source)).await.unwrap(), log());
        assert_eq!(asked.await.unwrap(), "GET /api/v1/deliveries?source=web HTTP/1.1");
        for (status, body, exit) in [
            ("404 Not Found", "no source web takes webhooks", Exit::Usage),
            ("404 Not Found", "", Exit::Unreachable),
            ("200 OK", "<html>", Exit::Unreachable),
        ] {
            let (url, _) = answer(status, body.to_owned()).await;
            assert_eq!(ask(&url, None).await.unwrap_err().exit(), exit, "{status} {body}");
        }
    }
}
