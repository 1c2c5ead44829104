//! What a parsed text consists of.

use fluent_syntax::ast::{Expression, InlineExpression, Message, Pattern, PatternElement};

/// A part of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Letters that stand in it.
    Text(&'a str),
    /// The name of an argument that it is filled with.
    Argument(&'a str),
}

/// Visits the parts of a text, also those of its variants.
pub(crate) fn visit<S: AsRef<str>>(pattern: &Pattern<S>, see: &mut impl FnMut(Part<'_>)) {
    for element in &pattern.elements {
        match element {
            PatternElement::TextElement { value } => see(Part::Text(value.as_ref())),
            PatternElement::Placeable { expression } => visit_expression(expression, see),
        }
    }
}

/// Visits the arguments of a message and of its attributes.
pub(super) fn arguments<S: AsRef<str>>(message: &Message<S>, mut see: impl FnMut(&str)) {
    let patterns = message.value.iter().chain(message.attributes.iter().map(|attribute| &attribute.value));
    for pattern in patterns {
        visit(pattern, &mut |part| {
            if let Part::Argument(name) = part {
                see(name);
            }
        });
    }
}

fn visit_expression<S: AsRef<str>>(expression: &Expression<S>, see: &mut impl FnMut(Part<'_>)) {
    match expression {
        Expression::Inline(inline) => visit_inline(inline, see),
        Expression::Select { selector, variants } => {
            visit_inline(selector, see);
            variants.iter().for_each(|variant| visit(&variant.value, see));
        }
    }
}

fn visit_inline<S: AsRef<str>>(inline: &InlineExpression<S>, see: &mut impl FnMut(Part<'_>)) {
    match inline {
        InlineExpression::VariableReference { id } => see(Part::Argument(id.name.as_ref())),
        InlineExpression::FunctionReference { arguments, .. } => {
            arguments.positional.iter().for_each(|argument| visit_inline(argument, see));
        }
        InlineExpression::Placeable { expression } => visit_expression(expression, see),
        _ => {}
    }
}
