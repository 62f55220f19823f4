//! The measurements that a team declares: a query's number, what an address answers, what is left of an error budget.

use std::sync::Arc;

use tokio::time::timeout;

use super::outside::Outside;
use super::prometheus::Provider;
use crate::model::duration::rough;
use crate::model::gate::Measure;
use crate::model::samples::{Measured, Question};

/// Measures once, within the question's timeout, the wait for a turn included.
pub(super) async fn measure(
    question: &Question,
    provider: Option<&Arc<Provider>>,
    outside: &Outside,
) -> Measured {
    let asked = async {
        match &question.measure {
            Measure::Http { url } => outside.get(url).await,
            Measure::Metric { query, .. } => match provider {
                Some(provider) => number(question, provider.value(query).await),
                None => nobody(),
            },
            Measure::Budget { good, total, objective, window, .. } => match provider {
                Some(provider) => {
                    let share = provider.share(good, total, *window).await;
                    number(question, share.map(|share| 1.0 - (1.0 - share) / (1.0 - objective)))
                }
                None => nobody(),
            },
        }
    };
    let late = || Measured::Unknown(format!("no answer within {}", rough(question.timeout)));
    timeout(question.timeout, asked).await.unwrap_or_else(|_| late())
}

fn nobody() -> Measured {
    Measured::Unknown("the platform's configuration names no Prometheus for this environment".to_owned())
}

/// Holds a number against what passes.
fn number(question: &Question, value: Result<f64, String>) -> Measured {
    let value = match value {
        Ok(value) => value,
        Err(clause) => return Measured::Unknown(format!("Prometheus: {clause}")),
    };
    match question.measure.bounds() {
        (Some(min), _) if value < min => Measured::Fail(format!("{value} is below {min}"), Some(value)),
        (_, Some(max)) if value > max => Measured::Fail(format!("{value} is above {max}"), Some(value)),
        _ => Measured::Pass(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_number_is_held_against_its_bounds() {
        let second = Duration::from_secs(1);
        let of = |min: Option<f64>, max: Option<f64>, value: Result<f64, String>| {
            let measure = Measure::Metric { query: "x".into(), min, max };
            let (interval, initial_delay, timeout) = (second, second, second);
            number(&Question { key: "k".into(), measure, interval, initial_delay, timeout }, value)
        };
        for (min, max, value, expected) in [
            (Some(1.0), Some(2.0), 1.0, Measured::Pass(Some(1.0))),
            (Some(1.0), Some(2.0), 2.0, Measured::Pass(Some(2.0))),
            (Some(1.0), None, 0.5, Measured::Fail("0.5 is below 1".into(), Some(0.5))),
            (None, Some(2.0), 2.5, Measured::Fail("2.5 is above 2".into(), Some(2.5))),
        ] {
            assert_eq!(of(min, max, Ok(value)), expected);
        }
        let clause = "the query gave no data".to_owned();
        assert_eq!(
            of(Some(1.0), None, Err(clause)),
            Measured::Unknown("Prometheus: the query gave no data".into())
        );
    }
}
