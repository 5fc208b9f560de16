"""``carnet bench``: what this machine does, each figure beside the least that the same work costs here.

``messages``   whole HTTP requests, each with an assertion of its own
``load``       the load generator, a process of its own
``large``      one document of any size, there and back
``floors``     the smallest servers that do the same steps, one process each
``processes``  children, their processor time and memory
``stage``      installations, filled registries, services
``scenarios``  what is measured, in interleaved rounds
``decisions``  the rights alone: one decision, one filter
``credentials`` what a credential costs a request, with cold and warm memories
``report``     marks, table, JSON
"""
