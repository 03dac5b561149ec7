// What every page may need to know of this controller before it asks for anything: the newest answer of GET /v1/overview.

let newest = null;

export function learn(overview) {
  newest = overview;
}

/** Whether an OpenStack is configured: without one there are no migrations, reservations and pools to ask for. */
export const openstack = () => newest?.openstack ?? false;
