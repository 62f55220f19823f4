//! The pods of a namespace as targets of a genuine Prometheus, which Debian builds without the discovery of Kubernetes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A file of targets that follows the pods until this is dropped.
pub struct Targets {
    file: PathBuf,
    task: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Drop for Targets {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Targets {
    /// Begins without a pod.
    pub fn none() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("targets.json");
        std::fs::write(&file, "[]")?;
        Ok(Self { file, task: None, _folder: folder })
    }

    /// Returns the configuration of a Prometheus that scrapes them once a second.
    pub fn configuration(&self) -> String {
        format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n  - job_name: pods\n    \
             file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]\n",
            self.file.display()
        )
    }

    /// Follows the pods of a namespace, which listen on port 8080.
    pub fn follow(&mut self, pods: Api<DynamicObject>, namespace: &'static str) {
        let file = self.file.clone();
        self.task = Some(tokio::spawn(async move {
            let mut written = String::new();
            loop {
                let found =
                    pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
                let target = |pod: &DynamicObject| {
                    let ip = pod.data["status"]["podIP"].as_str()?.to_owned();
                    let name = pod.metadata.name.clone()?;
                    Some(
                        json!({"targets": [format!("{ip}:8080")], "labels": {"namespace": namespace, "pod": name}}),
                    )
                };
                let text = json!(found.iter().filter_map(target).collect::<Vec<_>>()).to_string();
                if text != written {
                    put(&file, &text);
                    written = text;
                }
                sleep(Duration::from_millis(100)).await;
            }
        }));
    }
}

/// Prometheus never reads half a file.
fn put(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, file).unwrap();
}
