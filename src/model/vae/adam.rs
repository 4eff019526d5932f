//! AdamW over plain buffers, with its rates over time.

use candle_core::backprop::GradStore;

use super::net::Net;
use super::params::Param;
use super::specs::Part;
use super::{VaeError, VaeSettings};

/// Decay of the mean of gradients, and of squared gradients.
const FIRST: f32 = 0.9;
const SECOND: f32 = 0.99;
const EPSILON: f32 = 1e-8;

/// Rates never fall below this part of their height.
const LEAST: f32 = 0.2;

/// The gradient of each parameter, shortened per part; none if one of them is not finite.
pub(super) fn gradients(
    net: &Net,
    params: &[Param],
    store: &GradStore,
    settings: &VaeSettings,
) -> Result<Option<Vec<Vec<f32>>>, VaeError> {
    let mut gradients = Vec::with_capacity(params.len());
    for param in params {
        gradients.push(match store.get(net.get(param.spec.name)?) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>()?,
            None => vec![0.0; param.value.len()],
        });
    }
    for part in Part::ALL {
        let of_part = || {
            params
                .iter()
                .zip(&gradients)
                .filter(|(param, _)| param.spec.part == part)
        };
        let squares = of_part().flat_map(|(_, gradient)| gradient);
        let length = squares
            .map(|&number| f64::from(number) * f64::from(number))
            .sum::<f64>()
            .sqrt();
        if !length.is_finite() {
            return Ok(None);
        }
        let clip = match part {
            Part::Structure => settings.structure_clip,
            Part::Timing | Part::Encoder => settings.clip,
        };
        let scale = (f64::from(clip) / length.max(1e-30)).min(1.0) as f32;
        for (param, gradient) in params.iter().zip(&mut gradients) {
            if param.spec.part == part && scale < 1.0 {
                gradient.iter_mut().for_each(|number| *number *= scale);
            }
        }
    }
    Ok(Some(gradients))
}

/// The part of the rates' height that is left after so many steps.
fn falling(settings: &VaeSettings, steps: u32) -> f32 {
    if settings.horizon > 0 {
        let spent = (steps as f32 / settings.horizon as f32).min(1.0);
        return 0.5 + 0.5 * (std::f32::consts::PI * spent).cos();
    }
    let falling = 1.0 / (1.0 + steps as f32 / settings.half_life.max(1) as f32);
    falling.max(LEAST)
}

/// One step of all parameters; `steps` were taken before.
pub(super) fn descend(
    params: &mut [Param],
    gradients: &[Vec<f32>],
    settings: &VaeSettings,
    steps: u32,
) {
    let warm = ((steps + 1) as f32 / settings.warmup.max(1) as f32).min(1.0);
    let height = warm * falling(settings, steps);
    let due = |decay: f32| 1.0 - decay.powi(steps as i32 + 1);
    let (first_due, second_due) = (due(FIRST), due(SECOND));
    let keep = settings
        .average
        .min((steps + 1) as f32 / (steps + 10) as f32);
    for (param, gradient) in params.iter_mut().zip(gradients) {
        let rate = height
            * match param.spec.part {
                Part::Structure => settings.structure_rate,
                Part::Timing => settings.timing_rate,
                Part::Encoder => settings.encoder_rate,
            };
        let decay = match param.spec.shape.len() {
            1 => 0.0,
            _ => rate * settings.weight_decay,
        };
        let Param {
            value,
            first,
            second,
            average,
            ..
        } = param;
        let states = first.iter_mut().zip(second).zip(average);
        for ((value, &gradient), ((first, second), average)) in
            value.iter_mut().zip(gradient).zip(states)
        {
            *first = FIRST * *first + (1.0 - FIRST) * gradient;
            *second = SECOND * *second + (1.0 - SECOND) * gradient * gradient;
            let step = (*first / first_due) / ((*second / second_due).sqrt() + EPSILON);
            *value -= rate * step + decay * *value;
            *average += (1.0 - keep) * (*value - *average);
        }
    }
}
