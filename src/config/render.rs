//! How does a problem look to a person? The line itself, a caret, what was expected; drawn by `annotate-snippets`, the
//! way the compiler does it.
//!
//! What is drawn is the masked text of the file (`mask`), never the text itself. Control characters are drawn as pictures, so
//! that a file cannot steer the terminal.

use super::diagnostic::{Diagnostic, Place, Severity, SourceFile, floor_boundary};
use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use std::ops::Range;
use std::sync::Arc;

/// All problems, one after the other.
pub(super) fn render(list: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let drawn: Vec<String> = list.iter().map(|problem| renderer.render(&[group(problem)])).collect();
    drawn.join("\n\n")
}

fn group(problem: &Diagnostic) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(normalize_untrusted_str(&problem.message)));
    let label = problem.expected.as_ref().map(|expected| normalize_untrusted_str(&format!("expected {expected}")));
    match &problem.place {
        Place::File(file, span) => {
            let primary = AnnotationKind::Primary.span(first_line(&file.text, span)).label(label);
            let same = related_in(problem, |other| Arc::ptr_eq(other, file));
            group = group.element(snippet(file).annotation(primary).annotations(same));
        }
        place @ (Place::Path(_) | Place::Variable(_) | Place::Flag(_) | Place::Nowhere) => {
            group = group.element(Origin::path(normalize_untrusted_str(&place.to_string())));
            if let Some(label) = label {
                group = group.element(Level::NOTE.message(label));
            }
        }
    }
    for (place, what) in &problem.related {
        match (place, &problem.place) {
            (Place::File(file, _), Place::File(primary, _)) if Arc::ptr_eq(file, primary) => {}
            (Place::File(file, span), _) => {
                let context = AnnotationKind::Context.span(first_line(&file.text, span)).label(what.as_str());
                group = group.element(snippet(file).annotation(context));
            }
            (Place::Path(_) | Place::Variable(_) | Place::Flag(_) | Place::Nowhere, _) => {
                group = group.element(Level::NOTE.message(format!("{place}: {what}")));
            }
        }
    }
    match &problem.fix {
        Some(fix) => group.element(Level::HELP.message(normalize_untrusted_str(fix))),
        None => group,
    }
}

fn snippet(file: &Arc<SourceFile>) -> Snippet<'static, Annotation<'static>> {
    Snippet::source(file.masked().to_owned()).path(file.path.display().to_string())
}

fn related_in(
    problem: &Diagnostic,
    same: impl Fn(&Arc<SourceFile>) -> bool,
) -> impl Iterator<Item = Annotation<'static>> {
    problem.related.iter().filter_map(move |(place, what)| match place {
        Place::File(file, span) if same(file) => {
            Some(AnnotationKind::Context.span(first_line(&file.text, span)).label(what.clone()))
        }
        Place::File(..) | Place::Path(_) | Place::Variable(_) | Place::Flag(_) | Place::Nowhere => None,
    })
}

/// A value over many lines is shown by its first.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end.max(start));
    let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |newline| start + newline);
    start..end.min(line_end).max(start)
}
