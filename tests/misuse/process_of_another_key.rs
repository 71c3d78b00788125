//! A function over windows of one kind of key takes no others.

use tidemill::*;

struct Keys;

impl ProcessWindow<i64, String> for Keys {
    type Output = String;

    fn uid(&self) -> &str {
        "keys"
    }

    fn process(
        &self,
        _: Items<'_, i64>,
        context: &mut ProcessContext<'_, '_, String>,
        out: &mut Output<'_, String>,
    ) -> Result<(), String> {
        out.push(context.key())
    }
}

fn main() {
    let numbers = Job::new("keys").source("n", Records::new(0..9_i64)).processing_time();
    numbers.key_by(|n| *n).window(Window::count(3)).process(Keys);
}
