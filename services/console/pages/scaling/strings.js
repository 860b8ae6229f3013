/** What the page Scaling says. */

import { count } from "../parts/format.js";

export const strings = {
  title: "Scaling",
  now: {
    title: "Now",
    loading: "Asking the scalers …",
    notAll: "What is scaled, and by what, is of all cameras together, and you may see some of them alone: ask an admin.",
    /** @type {Record<string, string>} */
    policies: {
      demand: "by demand",
      "lag rule": "by demand: no worker is heard, so the lag rule holds",
      cameras: "by the number of cameras",
      "pending count": "by pending messages, or not at all",
      unknown: "not known",
    },
    /** @type {Record<string, string>} */
    terms: {
      arrival_replicas: "Arrivals call for",
      backlog_replicas: "The backlog calls for",
      due_replicas: "What is soon gone calls for",
      held_replicas: "Held at least",
      replicas: "Asked for",
      ready: "Ready",
      warming: "Warming up",
    },
    barLabel: (/** @type {string} */ name, /** @type {string} */ value) => `${name}: ${value} replicas`,
    settings: "What its trigger asks for",
    before: (/** @type {string} */ ago) => `No longer asked for, since ${ago}`,
    by: (/** @type {string} */ by) => `said by the ${by}`,
    terms_all: "All terms",
    yes: "yes",
    no: "no",
  },
  form: {
    title: "What if",
    lead:
      "Simulates other ways to scale on the same arrivals, and says what each would have cost in thirty such days. " +
      "Nothing is changed by it.",
    service: "Service",
    arrivals: "Arrivals",
    /** @type {Record<string, string>} */
    sources: { usage: "What arrived here", csv: "A CSV file of t_s,arrivals", made_up: "A made-up trace" },
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
      outage: "Cameras that are lost and back",
    },
    service_rate: "Messages a second of a busy replica",
    cold_start_s: "Cold start, seconds",
    latency_target_s: "Latency target, seconds",
    price: "Price of a replica's hour",
    min_replicas: "Replicas at least",
    max_replicas: "Replicas at most",
    budgets: "deferBudget, shares with commas",
    budgetsHint: "Frames that may be left out at first, from 0 to 1.",
    enough: "Minutes to be served, %",
    policies: "Compare",
    /** @type {Record<string, string>} */
    policyNames: {
      "KEDA default": "KEDA's defaults",
      lag: "By lag, tuned",
      demand: "By demand",
      "demand, bends": "By demand, where work bends",
    },
    asMeasured: "as measured",
    asShipped: "as shipped",
    none: "none",
    twice: "twice the peak's need",
    more: "More settings",
    go: "Simulate",
    number: "This is no number.",
    between: (/** @type {number} */ least, /** @type {number} */ most) =>
      `Give a number from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}.`,
    whole: "Give a whole number.",
    noFile: "Choose a file.",
    tooLarge: "This file is larger than 4 MB: make its rows coarser, or give a part of it.",
    shares: "Give up to five numbers from 0 to 1, with commas between them.",
    order: "This is fewer than at least.",
    needsOperator: "What-ifs take computing time, and are for operators: ask an admin.",
  },
  job: {
    progress: "How far the simulation is",
    of: (/** @type {string} */ service, /** @type {string} */ began) => `${service}, begun ${began}`,
    end: "End it",
    lost: "This what-if is no longer kept: start it again.",
  },
  answer: {
    title: (/** @type {string} */ service) => `What would have been, of ${service}`,
    saves: (/** @type {string} */ way, /** @type {string} */ amount, /** @type {string} */ against) =>
      `${way} saves ${amount} a month against ${against}`,
    costs: (/** @type {string} */ way, /** @type {string} */ amount, /** @type {string} */ against) =>
      `${way} takes ${amount} a month more than ${against}`,
    same: (/** @type {string} */ way) => `Nothing that was tried saves anything against ${way}`,
    serves: (/** @type {string} */ share, /** @type {string} */ before, /** @type {string} */ p99, /** @type {string} */ p99Before) =>
      `It serves ${share} of the minutes within the target instead of ${before}; 99 % of the results come within ${p99} instead of ${p99Before}.`,
    hours: (/** @type {string} */ hours) => `${hours} GPU-hours`,
    money: (/** @type {string} */ money, /** @type {string} */ hours) => `${money} (${hours} GPU-hours)`,
    recommended: "recommended",
    rule: "Recommended is the cheapest that serves enough of the minutes, or else the one that serves most.",
    columns: {
      name: "Way to scale",
      hours: "GPU-hours in 30 days",
      of_static: "Of static",
      of_bound: "Of bound",
      served: "Minutes served",
      p99: "p99",
      left_out: "Left out",
      made_good: "Made good",
      cost: "Cost in 30 days",
    },
    table: "What each way to scale would have cost",
    times: (/** @type {string} */ n) => `${n}×`,
    plot: "Replicas over time",
    plotLabel: (/** @type {string} */ rows) => `Replicas over time of ${rows}, beside the replicas that arrivals keep busy`,
    busy: "Kept busy by arrivals",
    shown: "Shown in the plot",
    hoursAfter: (/** @type {string} */ n) => `${n} h`,
    daysAfter: (/** @type {string} */ n) => `${n} d`,
    notes: "What it goes by",
    load: (/** @type {any} */ load, /** @type {(n: number) => string} */ number) =>
      `A busy replica does ${number(load.service_rate)} messages a second (${load.rate_measured ? "measured" : "given"}), ` +
      `is there after ${number(load.cold_start_s)} s (${load.cold_measured ? "measured of processes" : "given or shipped"}), ` +
      `results are wanted within ${number(load.latency_target_s)} s, and there are ${number(load.min_replicas)} to ` +
      `${count(load.max_replicas, "replica")}.`,
    apply: "ScaledObject to apply",
    of: "Of",
    applyHint: "kubectl apply -f, or tidegate up --scaled-object. It takes the place of the one of its name.",
  },
};
