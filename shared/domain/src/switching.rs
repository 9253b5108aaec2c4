//! How new digests take over: the two colours, the shares of traffic between them, and what moves it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::threshold::Metric;
use crate::time::Millis;

/// All of a service's traffic, in ten-thousandths.
pub const ALL_TRAFFIC: u16 = 10_000;

/// A share of 10,000 as people read it: `25%`, `12.5%`.
pub fn percent(share: u16) -> String {
    Metric::ErrorRate.show(i64::from(share))
}

/// One of the two Deployments that a service alternates between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The first one.
    Blue,
    /// The other one.
    Green,
}

impl Colour {
    /// The other colour.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Colour::Blue => Colour::Green,
            Colour::Green => Colour::Blue,
        }
    }

    /// Green's share of 10,000 when this colour has `share`, and the other one the rest; and the same the other way: this
    /// colour's share where green has `share`.
    pub fn share(self, share: u16) -> u16 {
        match self {
            Colour::Green => share,
            Colour::Blue => ALL_TRAFFIC.saturating_sub(share),
        }
    }

    /// The colour that has all traffic where green has this share; none = both have some.
    pub fn with_all(green: u16) -> Option<Self> {
        [Colour::Blue, Colour::Green].into_iter().find(|colour| green == colour.share(ALL_TRAFFIC))
    }

    /// The colour that has most of the traffic where green has this share; of two halves green.
    pub fn with_most(green: u16) -> Self {
        if green >= ALL_TRAFFIC / 2 { Colour::Green } else { Colour::Blue }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Colour::Blue => "blue",
            Colour::Green => "green",
        })
    }
}

/// How new digests take over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The other colour comes up beside the live one; then traffic moves in these shares of 10,000, the last 10,000.
    BlueGreen {
        /// Shares of traffic on the new colour; `[10000]` = at once.
        steps: Vec<u16>,
        /// How long each step but the last is watched.
        every: Millis,
        /// Whether a person must say `switch` before traffic moves.
        manual: bool,
    },
    /// The live Deployment takes the new digest pod by pod.
    Rolling,
}

impl Strategy {
    /// The shares of 10,000 that traffic moves in, at least one; the last is all of it.
    pub fn steps(&self) -> &[u16] {
        match self {
            Strategy::BlueGreen { steps, .. } if !steps.is_empty() => steps,
            _ => &[ALL_TRAFFIC],
        }
    }

    /// How much healthy, measured time each step but the last takes.
    pub fn every(&self) -> Millis {
        match self {
            Strategy::BlueGreen { every, .. } => *every,
            Strategy::Rolling => Millis(0),
        }
    }
}

/// What moves traffic from one colour to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficBy {
    /// The selector of the Service: all of it at once.
    #[default]
    Selector,
    /// The weights of two target groups of an Application Load Balancer, by its Ingress.
    Alb,
    /// The weights of an `HTTPRoute` of the Gateway API.
    Gateway,
}

impl TrafficBy {
    /// Whether it is the default, which is not written.
    pub fn is_selector(&self) -> bool {
        *self == TrafficBy::Selector
    }

    /// Why traffic that moves this way is not moved as a policy says, and what to do.
    pub fn is_not(self, wanted: Self) -> String {
        format!(
            "it was adopted with `traffic: {self}`, and the policy says `traffic: {wanted}`: write `traffic: {self}` there, \
             or release it (`portcullis cluster release`) and adopt it anew"
        )
    }
}

/// As a policy writes it.
impl fmt::Display for TrafficBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TrafficBy::Selector => "selector",
            TrafficBy::Alb => "alb",
            TrafficBy::Gateway => "gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_colour_and_of_green_say_the_same() {
        for (green, all, most) in [
            (0, Some(Colour::Blue), Colour::Blue),
            (4_999, None, Colour::Blue),
            (5_000, None, Colour::Green),
            (10_000, Some(Colour::Green), Colour::Green),
        ] {
            assert_eq!((Colour::with_all(green), Colour::with_most(green)), (all, most), "{green}");
            for colour in [Colour::Blue, Colour::Green] {
                assert_eq!(colour.share(colour.share(green)), green);
            }
            assert_eq!(Colour::Blue.share(green) + Colour::Green.share(green), ALL_TRAFFIC);
        }
        assert_eq!(Colour::Blue.share(u16::MAX), 0, "what is no share takes nothing from blue");
    }
}
