package schemas

import _ "penstock/consumer"
