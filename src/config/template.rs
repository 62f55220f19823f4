//! The two templates of the platform: the namespace of an environment and the image of a service.

use crate::model::name::{EnvironmentName, NameError, Namespace, ServiceName, TeamName};

/// What a template of the platform may name.
const KNOWN: [&str; 3] = ["service.name", "service.team", "env"];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{{` without its `}}`.
    #[error("{0:?} has a {{{{ without its }}}}")]
    Open(String),
    /// A variable that nobody fills.
    #[error("{{{{{0}}}}} is not known here; write {1}")]
    Unknown(String, String),
    /// What remains does not make the thing that the template is for.
    #[error("{0}")]
    Nonsense(String),
}

fn fill(
    text: &str,
    mut value: impl FnMut(&str) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(|| TemplateError::Open(text.to_owned()))?;
        filled.push_str(before);
        filled.push_str(&value(name.trim())?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn known(name: &str, extra: &[&str]) -> Result<(), TemplateError> {
    if KNOWN.contains(&name) || extra.contains(&name) {
        return Ok(());
    }
    let all: Vec<String> = KNOWN.iter().chain(extra).map(|known| format!("{{{{{known}}}}}")).collect();
    Err(TemplateError::Unknown(name.chars().take(40).collect(), all.join(", ")))
}

/// The rule for an environment's namespaces, as in `{{service.team}}-{{env}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceTemplate(String);

impl NamespaceTemplate {
    /// Parses and checks a template: its variables are known, and with short names it yields a namespace.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let example = fill(text, |name| known(name, &[]).map(|()| "a".to_owned()))?;
        example.parse::<Namespace>().map_err(|error| TemplateError::Nonsense(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the namespace of a service in an environment. Fails where the parts together are too long.
    pub fn render(
        &self,
        service: &ServiceName,
        team: &TeamName,
        environment: &EnvironmentName,
    ) -> Result<Namespace, NameError> {
        values(&self.0, service.as_str(), team.as_str(), environment.as_str()).parse()
    }

    /// Returns the template with only the environment filled in: two environments for which this is equal would share namespaces.
    pub(super) fn in_environment(&self, environment: &EnvironmentName) -> String {
        values(&self.0, "{{service.name}}", "{{service.team}}", environment.as_str())
    }

    /// Returns the template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The image of a service that names none, as in `registry.example.com/{{service.team}}/{{service.name}}`, with or without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTemplate(String);

impl ImageTemplate {
    /// Parses and checks a template; `{{commit.sha}}` may stand in its tag only.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let nonsense = |message: String| Err(TemplateError::Nonsense(message));
        let example = fill(text, |name| known(name, &["commit.sha"]).map(|()| "a".to_owned()))?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        if !example.contains('/') || !example.chars().all(allowed) || example.contains("//") {
            return nonsense(format!("{text:?} is not an image: write registry/path/name, or with :tag"));
        }
        if example.ends_with([':', '/']) {
            return nonsense(format!("{text:?} has an empty name or tag"));
        }
        let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
        let (name, _) = name.split_once(':').unwrap_or((name, ""));
        if folder.contains("commit.sha") || name.contains("commit.sha") {
            return nonsense("{{commit.sha}} belongs in the tag".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Fills a template that was parsed before; what it does not know stays as it stands.
fn values(text: &str, service: &str, team: &str, environment: &str) -> String {
    let filled = fill(text, |name| {
        Ok(match name {
            "service.name" => service.to_owned(),
            "service.team" => team.to_owned(),
            "env" => environment.to_owned(),
            other => format!("{{{{{other}}}}}"),
        })
    });
    filled.unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_made_of_team_service_and_environment() {
        let (service, team, env) =
            ("api".parse().unwrap(), "payments".parse().unwrap(), "staging".parse().unwrap());
        let rendered = |text: &str| {
            NamespaceTemplate::parse(text).unwrap().render(&service, &team, &env).map(|n| n.to_string())
        };
        assert_eq!(rendered("{{service.team}}-{{env}}").unwrap(), "payments-staging");
        assert_eq!(rendered("{{ service.name }}-x").unwrap(), "api-x");
        assert!(rendered(&format!("{}-{{{{service.team}}}}", "a".repeat(60))).is_err());
    }

    #[test]
    fn what_no_namespace_can_come_of_is_refused() {
        for bad in ["", "{{service.team}", "{{team}}-x", "A-{{env}}", "-{{env}}", "{{commit.sha}}"] {
            assert!(NamespaceTemplate::parse(bad).is_err(), "{bad}");
        }
        let error = NamespaceTemplate::parse("{{team}}").unwrap_err().to_string();
        assert_eq!(error, "{{team}} is not known here; write {{service.name}}, {{service.team}}, {{env}}");
    }

    #[test]
    fn an_image_names_the_commit_in_its_tag_only() {
        for good in [
            "r.example.com:5000/{{service.team}}/{{service.name}}",
            "r/{{service.name}}:{{env}}-{{commit.sha}}",
        ] {
            assert_eq!(ImageTemplate::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "api", "r/{{commit.sha}}:x", "r/{{commit.sha}}", "r/a:", "r/a b", "r//a", "r/{{x}}", "r/"]
        {
            assert!(ImageTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
