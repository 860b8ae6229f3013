/** The texts of the page Scaling. */

import { count } from "../parts/format.js";

export const strings = {
  title: "Scaling",
  now: {
    title: "Now",
    loading: "Asking the scalers …",
    notAll: "Scaling covers all cameras, and you can see only some of them: ask an admin for access.",
    /** @type {Record<string, string>} */
    policies: {
      demand: "by demand",
      "lag rule": "by demand: no worker reports, so the lag rule applies",
      cameras: "by the number of cameras",
      "pending count": "by pending messages, or not at all",
      unknown: "unknown",
    },
    /** @type {Record<string, string>} */
    terms: {
      arrival_replicas: "Arrivals need",
      backlog_replicas: "The backlog needs",
      due_replicas: "Expiring work needs",
      held_replicas: "Held at least",
      replicas: "Requested",
      ready: "Ready",
      warming: "Warming up",
    },
    barLabel: (/** @type {string} */ name, /** @type {string} */ value) => `${name}: ${value} replicas`,
    settings: "Trigger settings",
    before: (/** @type {string} */ ago) => `No longer requested, since ${ago}`,
    by: (/** @type {string} */ by) => `from the ${by}`,
    terms_all: "All terms",
    yes: "yes",
    no: "no",
  },
  form: {
    title: "What if",
    lead:
      "Simulates other policies on the same arrivals, and shows what each would have cost in thirty such days. " +
      "It changes nothing.",
    service: "Service",
    arrivals: "Arrivals",
    /** @type {Record<string, string>} */
    sources: { usage: "Recorded arrivals", csv: "A CSV file of t_s,arrivals", made_up: "A synthetic trace" },
    days: "Of the last days",
    csv: "File",
    csvHint: "4 MB at most. 'tidegate trace export' writes one.",
    trace: "Trace",
    /** @type {Record<string, string>} */
    traces: {
      days: "Four days of a site",
      bursts: "Bursts",
      flash_crowd: "A flash crowd, twice",
      ramp: "A slow rise and fall",
      outage: "Cameras that go offline and return",
    },
    service_rate: "Messages per second of a busy replica",
    cold_start_s: "Cold start, seconds",
    latency_target_s: "Latency target, seconds",
    price: "Price of a replica's hour",
    min_replicas: "Replicas at least",
    max_replicas: "Replicas at most",
    budgets: "lossBudget, shares separated by commas",
    budgetsHint: "Share of frames that may never be analysed, from 0 to 1.",
    enough: "Minutes within the target, %",
    policies: "Compare",
    /** @type {Record<string, string>} */
    policyNames: {
      "KEDA default": "KEDA's defaults",
      lag: "By lag, tuned",
      demand: "By demand",
      "demand, bends": "By demand, degradable",
    },
    asMeasured: "as measured",
    asShipped: "as shipped",
    none: "none",
    twice: "twice the peak",
    more: "More settings",
    go: "Simulate",
    number: "Enter a number.",
    between: (/** @type {number} */ least, /** @type {number} */ most) =>
      `Enter a number from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}.`,
    whole: "Enter a whole number.",
    noFile: "Choose a file.",
    tooLarge: "This file is larger than 4 MB: make its rows coarser, or use a part of it.",
    shares: "Enter up to five numbers from 0 to 1, separated by commas.",
    order: "Set this to the minimum or more.",
    needsOperator: "What-ifs need the role operator: ask an admin.",
  },
  job: {
    progress: "Progress of the simulation",
    of: (/** @type {string} */ service, /** @type {string} */ began) => `${service}, started ${began}`,
    end: "Cancel",
    lost: "This what-if has expired: start it again.",
  },
  answer: {
    title: (/** @type {string} */ service) => `Results for ${service}`,
    saves: (/** @type {string} */ policy, /** @type {string} */ amount, /** @type {string} */ against) =>
      `${policy} saves ${amount} a month against ${against}`,
    costs: (/** @type {string} */ policy, /** @type {string} */ amount, /** @type {string} */ against) =>
      `${policy} takes ${amount} a month more than ${against}`,
    same: (/** @type {string} */ policy) => `No policy saves anything against ${policy}`,
    serves: (/** @type {string} */ share, /** @type {string} */ before, /** @type {string} */ p99, /** @type {string} */ p99Before) =>
      `It serves ${share} of the minutes within the target instead of ${before}; 99 % of the results come within ${p99} instead of ${p99Before}.`,
    hours: (/** @type {string} */ hours) => `${hours} GPU-hours`,
    money: (/** @type {string} */ money, /** @type {string} */ hours) => `${money} (${hours} GPU-hours)`,
    recommended: "recommended",
    rule: "Recommended: the cheapest policy that serves enough minutes, or else the one that serves most.",
    columns: {
      name: "Policy",
      hours: "GPU-hours in 30 days",
      of_static: "Of static",
      of_bound: "Of oracle",
      served: "Minutes served",
      p99: "p99",
      left_out: "Deferred",
      made_good: "Backfilled",
      never: "Never analysed",
      cost: "Cost in 30 days",
    },
    table: "Cost of each policy",
    times: (/** @type {string} */ n) => `${n}×`,
    plot: "Replicas over time",
    plotLabel: (/** @type {string} */ rows) => `Replicas over time of ${rows}, beside the replicas that arrivals keep busy`,
    busy: "Kept busy by arrivals",
    shown: "Shown in the plot",
    hoursAfter: (/** @type {string} */ n) => `${n} h`,
    daysAfter: (/** @type {string} */ n) => `${n} d`,
    notes: "Assumptions",
    load: (/** @type {any} */ load, /** @type {(n: number) => string} */ number) =>
      `A busy replica processes ${number(load.service_rate)} messages per second (${load.rate_measured ? "measured" : "given"}). ` +
      `It starts in ${number(load.cold_start_s)} s (${load.cold_measured ? "measured" : "given or default"}). ` +
      `Results are due within ${number(load.latency_target_s)} s, from ${number(load.min_replicas)} to ` +
      `${count(load.max_replicas, "replica")}.`,
    apply: "ScaledObject to apply",
    of: "Of",
    applyHint: "kubectl apply -f, or tidegate up --scaled-object. It replaces the ScaledObject of the same name.",
  },
};
