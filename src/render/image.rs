//! Which image a head asks for: the file's, else the platform's template, with the commits whose content is the same as tags.

use super::{RenderContext, RenderError, values};
use crate::declare::reference::{is_repository, is_tag, split};
use crate::declare::template::{self, Values};
use crate::model::declaration::Declaration;
use crate::model::image::{ImageRequest, Wanted};

/// Commits that the registry is asked for at most.
const CANDIDATES: usize = 20;

pub(super) fn request(
    declaration: &Declaration,
    context: &RenderContext<'_>,
) -> Result<ImageRequest, RenderError> {
    let (repository, tag) = written(declaration, context)?;
    let values = values(declaration, context);
    let repository = template::fill(&repository, values);
    let bad = |what, text: &str, why| RenderError::Image {
        release: context.release.clone(),
        what,
        text: text.chars().take(200).collect(),
        why,
    };
    if !is_repository(&repository) {
        let why = "a repository is registry/path in lower case, without a tag";
        return Err(bad("image.repository", &repository, why));
    }
    if let Some(digest) = &declaration.image.digest {
        return Ok(ImageRequest { repository, wanted: Wanted::Digest(digest.clone()) });
    }
    let tags = tags(&tag, values, context);
    if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
        let why =
            "a tag has at most 128 letters, digits, '_', '.' and '-' and begins with none of the last two";
        return Err(bad("image.tag", tag, why));
    }
    Ok(ImageRequest { repository, wanted: Wanted::Tags(tags) })
}

/// Repository and tag with their templates. A repository of the file's own takes no tag from the platform's template.
fn written(declaration: &Declaration, context: &RenderContext<'_>) -> Result<(String, String), RenderError> {
    let image = &declaration.image;
    if let Some(repository) = &image.repository {
        return Ok((repository.clone(), image.tag().to_owned()));
    }
    let template = context.platform.image.as_deref();
    let template = template.ok_or_else(|| RenderError::NoImage(context.release.clone()))?;
    let (repository, tag) = split(template);
    let tag = image.tag.as_deref().or(tag).unwrap_or(image.tag());
    Ok((repository.to_owned(), tag.to_owned()))
}

fn tags(tag: &str, values: Values<'_>, context: &RenderContext<'_>) -> Vec<String> {
    if !template::names_commit(tag) || context.image_candidates.is_empty() {
        return vec![template::fill(tag, values)];
    }
    let candidates = context.image_candidates.iter().take(CANDIDATES);
    candidates.map(|commit| template::fill(tag, Values { commit: Some(commit), ..values })).collect()
}
